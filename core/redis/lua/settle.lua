-- End a reservation with a usage event: release what was reserved, add what was spent, put the event on the stream.
-- Both happen or neither. A settlement never fails because of the balance: what would pass a cap is waived, i.e. recorded
-- on the event and never charged. Charged is what the cap has room for now, or what was reserved, as far as the cap that
-- it was reserved under has room: never more than the highest cap since the admission. What other requests hold is theirs
-- to use, but nobody's before it is used.
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

local reservation = redis.call('HMGET', KEYS[3], 'cost', 'tokens', 'minute', 'account_cap', 'key_cap')
local cost = tonumber(ARGV[3])

local function whole(number)
    return string.format('%.0f', number)  -- Of 0 - x, never of -x: -0 would be written as "-0", which HINCRBY refuses.
end

if ARGV[6] == '1' then
    local clock = redis.call('TIME')
    local deadline = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or '')
    if not deadline or deadline > tonumber(clock[1]) * 1000 then return nil end
end

local held = tonumber(reservation[1] or 0)
local charged = cost
local scopes = {}
for scope = 1, 2 do
    local values = redis.call('HMGET', KEYS[scope], 'cap', 'reserved', 'ledger:' .. ARGV[2], 'pending:' .. ARGV[2],
        'in_flight', 'minute', 'minute_tokens', 'epoch')
    if ARGV[7] ~= '' and values[8] ~= ARGV[7] then return 'cold' end
    local found = {
        cap = tonumber(values[1] or ''), reserved = tonumber(values[2] or 0), pending = tonumber(values[4] or 0),
        in_flight = tonumber(values[5] or 0), minute = values[6], minute_tokens = tonumber(values[7] or 0),
    }
    if found.cap then
        local spent = tonumber(values[3] or 0) + found.pending
        local cap_then = tonumber(reservation[3 + scope] or '')  -- Without one, all that was reserved was granted.
        local promised = cap_then and math.min(held, cap_then - spent) or held
        charged = math.min(charged, math.max(found.cap - spent, promised, 0))
    end
    scopes[scope] = found
end

for scope, found in ipairs(scopes) do
    local pending = whole(found.pending + charged)
    if not reservation[1] then
        redis.call('HSET', KEYS[scope], 'pending:' .. ARGV[2], pending)
    else
        local tokens = found.minute_tokens
        if found.minute == reservation[3] then tokens = tokens + tonumber(ARGV[4]) - tonumber(reservation[2]) end
        redis.call('HSET', KEYS[scope], 'pending:' .. ARGV[2], pending, 'in_flight', whole(found.in_flight - 1),
            'reserved', whole(found.reserved - held), 'minute_tokens', whole(tokens))
    end
end
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('XADD', KEYS[5], '*', 'e', ARGV[5], 'c', whole(charged), 'w', whole(cost - charged))
return {charged, cost - charged}
