-- Admit one request, or say what stands in the way. Checks every limit of the account and of the key, then takes from all
-- of them or from none. The fields are listed in core/redis/keys.py.
--
-- KEYS  1 account scope   2 key scope   3 reservation   4 leases
-- ARGV  1 event id        2 epoch       3 model         4 lease, ms
--       5 input tokens (upper bound)          6 cost of the input, nano-dollars (upper bound)
--       7 output tokens wanted per choice     8 least output tokens per choice worth an answer
--       9 cost of one output token per choice, nano-dollars          10 choices
--       11 the usage event to record if the gateway dies before it ends the reservation (an estimate)
--
-- Returns {"admitted", output tokens granted per choice, reserved nano-dollars, ms to the next minute,
--          account rpm, requests left, account tpm, tokens left, period}    (an unset limit is -1, and so is what it leaves)
--      or {reason, scope, limit, ms to wait}; the reasons are `cold`, `suspended`, `revoked`, `expired`, `model`,
--         `requests`, `tokens`, `oversized`, `concurrency`, `cap`.
--
-- A scope is `cold` unless it was published for this very server: one that has restarted may have come back with an older
-- state, in which everything that was spent since could be spent again. Likewise when the account's periods are over.
--
-- Worked example: cap 1,000,000, ledger 600,000, pending 100,000, reserved 0; a request with input cost 50,000 that wants
-- 1,000 tokens at 500 each would need 550,000 and finds 300,000: it is granted (300,000 - 50,000) / 500 = 500 tokens.
--
-- Straight-line and with one look at each scope, because every request waits for it. Numbers are passed to commands as
-- they are: the server writes whole ones up to 1e17 in digits.

local call, number, floor, min = redis.call, tonumber, math.floor, math.min
local input_tokens, input_cost = number(ARGV[5]), number(ARGV[6])
local granted, least = number(ARGV[7]), number(ARGV[8])
local output_cost, choices = number(ARGV[9]), number(ARGV[10])

local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)
local minute = floor(now / 60000)
local rest_of_minute = (minute + 1) * 60000 - now

local ends = call('HMGET', KEYS[1], 'period', 'period_ends', 'next_period', 'next_period_ends')
local period
if now < number(ends[2] or 0) then period = ends[1] elseif now < number(ends[4] or 0) then period = ends[3] end
if not period then return {'cold', 'account', 0, 0} end

local ledger, pending = 'ledger:' .. period, 'pending:' .. period
-- The places of a scope's fields, below:  1 status  2 epoch  3 rpm  4 tpm  5 concurrency  6 cap  7 in_flight  8 reserved
--                                         9 minute  10 requests and 11 tokens of it  12 ledger  13 pending
--                                         14 expires_at  15 models
local account = call('HMGET', KEYS[1], 'status', 'epoch', 'rpm', 'tpm', 'concurrency', 'cap', 'in_flight', 'reserved',
    'minute', 'minute_requests', 'minute_tokens', ledger, pending, 'expires_at', 'models')
local key = call('HMGET', KEYS[2], 'status', 'epoch', 'rpm', 'tpm', 'concurrency', 'cap', 'in_flight', 'reserved',
    'minute', 'minute_requests', 'minute_tokens', ledger, pending, 'expires_at', 'models')

if not account[1] or account[2] ~= ARGV[2] then return {'cold', 'account', 0, 0} end
if not key[1] or key[2] ~= ARGV[2] then return {'cold', 'key', 0, 0} end

local function barred(name, scope)
    if scope[1] ~= 'active' then return {scope[1], name, 0, 0} end
    local expires_at, models = number(scope[14] or ''), scope[15] or ''
    if expires_at and expires_at <= now then return {'expired', name, 0, 0} end
    if models ~= '' and not string.find(models, ',' .. ARGV[3] .. ',', 1, true) then return {'model', name, 0, 0} end
end

local function exceeded(name, scope)
    if number(scope[9]) ~= minute then scope[10], scope[11] = 0, 0 end
    local rpm, tpm = number(scope[3] or ''), number(scope[4] or '')
    local concurrency, cap = number(scope[5] or ''), number(scope[6] or '')
    if rpm and scope[10] + 1 > rpm then return {'requests', name, rpm, rest_of_minute} end
    if concurrency and (scope[7] or 0) + 1 > concurrency then return {'concurrency', name, concurrency, 1000} end
    if cap then
        local left = cap - (scope[12] or 0) - (scope[13] or 0) - (scope[8] or 0) - input_cost
        if output_cost > 0 then granted = min(granted, floor(left / output_cost)) end
        if left < 0 or granted < least then return {'cap', name, cap, 0} end
    end
    if tpm then  -- What a whole minute allows: a request must not fail for the model's default output.
        granted = min(granted, floor((tpm - input_tokens) / choices))
        if granted < least then return {'oversized', name, tpm, 0} end
    end
end

local refused = barred('account', account) or barred('key', key) or exceeded('account', account) or exceeded('key', key)
if refused then return refused end

local tokens = input_tokens + granted * choices
local account_tokens, key_tokens = account[11] + tokens, key[11] + tokens
local rpm, tpm, key_tpm = number(account[3] or ''), number(account[4] or ''), number(key[4] or '')
if tpm and account_tokens > tpm then return {'tokens', 'account', tpm, rest_of_minute} end
if key_tpm and key_tokens > key_tpm then return {'tokens', 'key', key_tpm, rest_of_minute} end

local cost = input_cost + granted * output_cost
call('HSET', KEYS[1], 'in_flight', (account[7] or 0) + 1, 'reserved', (account[8] or 0) + cost,
    'minute', minute, 'minute_requests', account[10] + 1, 'minute_tokens', account_tokens)
call('HSET', KEYS[2], 'in_flight', (key[7] or 0) + 1, 'reserved', (key[8] or 0) + cost,
    'minute', minute, 'minute_requests', key[10] + 1, 'minute_tokens', key_tokens)
call('HSET', KEYS[3], 'cost', cost, 'tokens', tokens, 'minute', minute, 'period', period,
    'account', KEYS[1], 'key', KEYS[2], 'account_cap', account[6] or '', 'key_cap', key[6] or '', 'event', ARGV[11])
call('ZADD', KEYS[4], now + ARGV[4], ARGV[1])

return {'admitted', granted, cost, rest_of_minute, rpm or -1, rpm and rpm - account[10] - 1 or -1,
    tpm or -1, tpm and tpm - account_tokens or -1, period}
