-- End a reservation with a usage event: release what was reserved, add what was spent, put the event on the stream.
-- Both happen or neither. A settlement never fails because of the balance: what would pass a cap is waived, i.e. recorded
-- on the event and never charged. Charged is what the cap has room for now, or what was reserved, as far as the cap that
-- it was reserved under has room: never more than the highest cap since the admission. What other requests hold is theirs
-- to use, but not theirs before they use it.
--
-- KEYS  1 account scope   2 key scope   3 reservation   4 leases   5 usage stream
-- ARGV  1 event id        2 period      3 cost, nano-dollars       4 tokens used    5 usage event
--       6 '1' = only if the lease has run out (the sweeper), '0' = always
--       7 epoch: the server for which both scopes must have been published; empty = any
--
-- Without a reservation (a replay from the spool, a lost Redis, a second delivery) the event is put on the stream all the
-- same: the ledger ignores an id it has seen, and `confirm` takes the pending amount back.
--
-- A scope of another epoch may have forgotten what was spent: its room is not to be trusted, nor is a reservation, since
-- others may have used the room that it was promised. The answer is `cold` and nothing has happened: publish and come again.
--
-- Returns {charged, waived} in nano-dollars, 'cold', or nil when the sweeper came too early or too late.

local call, number, min, max = redis.call, tonumber, math.min, math.max
local reservation = call('HMGET', KEYS[3], 'cost', 'tokens', 'minute', 'account_cap', 'key_cap')
local cost, epoch = number(ARGV[3]), ARGV[7]

if ARGV[6] == '1' then
    local clock = call('TIME')
    local deadline = number(call('ZSCORE', KEYS[4], ARGV[1]) or '')
    if not deadline or deadline > clock[1] * 1000 then return nil end
end

local ledger, pending = 'ledger:' .. ARGV[2], 'pending:' .. ARGV[2]
-- The places of a scope's fields, below:  1 epoch  2 cap  3 reserved  4 ledger  5 pending  6 in_flight  7 minute  8 its tokens
local account = call('HMGET', KEYS[1], 'epoch', 'cap', 'reserved', ledger, pending, 'in_flight', 'minute', 'minute_tokens')
local key = call('HMGET', KEYS[2], 'epoch', 'cap', 'reserved', ledger, pending, 'in_flight', 'minute', 'minute_tokens')
if epoch ~= '' and (account[1] ~= epoch or key[1] ~= epoch) then return 'cold' end

local held = number(reservation[1] or 0)

local function room(scope, cap_then)
    local cap = number(scope[2] or '')
    if not cap then return cost end
    local spent = (scope[4] or 0) + (scope[5] or 0)
    cap_then = number(cap_then or '')  -- Without one, all that was reserved was granted.
    local promised = cap_then and min(held, cap_then - spent) or held
    return max(cap - spent, promised, 0)
end

local charged = min(cost, room(account, reservation[4]), room(key, reservation[5]))

local function charge(name, scope)
    if not reservation[1] then
        call('HSET', name, pending, (scope[5] or 0) + charged)
        return
    end
    local tokens = scope[8] or 0
    if scope[7] == reservation[3] then tokens = tokens + ARGV[4] - reservation[2] end
    call('HSET', name, pending, (scope[5] or 0) + charged, 'in_flight', (scope[6] or 0) - 1,
        'reserved', (scope[3] or 0) - held, 'minute_tokens', tokens)
end

charge(KEYS[1], account)
charge(KEYS[2], key)
call('DEL', KEYS[3])
call('ZREM', KEYS[4], ARGV[1])
call('XADD', KEYS[5], '*', 'e', ARGV[5], 'c', charged, 'w', cost - charged)
return {charged, cost - charged}
