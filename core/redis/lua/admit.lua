-- Admit one request, or say what stands in the way. Checks every limit of the account and of the key, then takes from all
-- of them or from none. The fields are listed in core/redis/keys.py.
--
-- KEYS  1 account scope   2 key scope   3 reservation   4 leases
-- ARGV  1 event id        2 epoch       3 model         4 lease, ms
--       5 input tokens (upper bound)          6 cost of the input, nano-dollars (upper bound)
--       7 output tokens wanted per choice     8 fewest output tokens per choice worth an answer
--       9 cost of one output token per choice, nano-dollars          10 choices
--       11 the usage event to record if nobody ends the reservation (an estimate)
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

local input_tokens, input_cost = tonumber(ARGV[5]), tonumber(ARGV[6])
local granted, fewest = tonumber(ARGV[7]), tonumber(ARGV[8])
local output_cost, choices = tonumber(ARGV[9]), tonumber(ARGV[10])

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local minute = math.floor(now / 60000)
local rest_of_minute = (minute + 1) * 60000 - now

local function whole(number)
    return string.format('%.0f', number)  -- Never 5e+10, which HINCRBY refuses.
end

local ends = redis.call('HMGET', KEYS[1], 'period', 'period_ends', 'next_period', 'next_period_ends')
local period
if now < tonumber(ends[2] or 0) then period = ends[1] elseif now < tonumber(ends[4] or 0) then period = ends[3] end
if not period then return {'cold', 'account', 0, 0} end

local function read(name, key)
    local values = redis.call('HMGET', key, 'status', 'rpm', 'tpm', 'concurrency', 'cap', 'in_flight', 'reserved',
        'minute', 'minute_requests', 'minute_tokens', 'ledger:' .. period, 'pending:' .. period, 'expires_at', 'models', 'epoch')
    local same_minute = tonumber(values[8] or 0) == minute
    return {
        name = name, key = key, status = values[1],
        rpm = tonumber(values[2] or ''), tpm = tonumber(values[3] or ''),
        concurrency = tonumber(values[4] or ''), cap = tonumber(values[5] or ''), cap_text = values[5] or '',
        in_flight = tonumber(values[6] or 0), reserved = tonumber(values[7] or 0),
        requests = same_minute and tonumber(values[9] or 0) or 0,
        tokens = same_minute and tonumber(values[10] or 0) or 0,
        spent = tonumber(values[11] or 0) + tonumber(values[12] or 0),
        expires_at = tonumber(values[13] or ''), models = values[14] or '', epoch = values[15],
    }
end

local scopes = {read('account', KEYS[1]), read('key', KEYS[2])}

for _, scope in ipairs(scopes) do
    if not scope.status or scope.epoch ~= ARGV[2] then return {'cold', scope.name, 0, 0} end
end
for _, scope in ipairs(scopes) do
    if scope.status ~= 'active' then return {scope.status, scope.name, 0, 0} end
    if scope.expires_at and scope.expires_at <= now then return {'expired', scope.name, 0, 0} end
    if scope.models ~= '' and not string.find(scope.models, ',' .. ARGV[3] .. ',', 1, true) then
        return {'model', scope.name, 0, 0}
    end
end

for _, scope in ipairs(scopes) do
    if scope.rpm and scope.requests + 1 > scope.rpm then return {'requests', scope.name, scope.rpm, rest_of_minute} end
    if scope.concurrency and scope.in_flight + 1 > scope.concurrency then
        return {'concurrency', scope.name, scope.concurrency, 1000}
    end
    if scope.cap then
        local left = scope.cap - scope.spent - scope.reserved - input_cost
        if output_cost > 0 then granted = math.min(granted, math.floor(left / output_cost)) end
        if left < 0 or granted < fewest then return {'cap', scope.name, scope.cap, 0} end
    end
    if scope.tpm then  -- What a whole minute allows: a request must not fail for the model's default output.
        granted = math.min(granted, math.floor((scope.tpm - input_tokens) / choices))
        if granted < fewest then return {'oversized', scope.name, scope.tpm, 0} end
    end
end

local tokens = input_tokens + granted * choices
for _, scope in ipairs(scopes) do
    if scope.tpm and scope.tokens + tokens > scope.tpm then return {'tokens', scope.name, scope.tpm, rest_of_minute} end
end

local cost = input_cost + granted * output_cost
for _, scope in ipairs(scopes) do
    redis.call('HSET', scope.key, 'in_flight', scope.in_flight + 1, 'reserved', whole(scope.reserved + cost),
        'minute', minute, 'minute_requests', scope.requests + 1, 'minute_tokens', whole(scope.tokens + tokens))
end
redis.call('HSET', KEYS[3], 'cost', whole(cost), 'tokens', whole(tokens), 'minute', minute, 'period', period,
    'account', KEYS[1], 'key', KEYS[2], 'account_cap', scopes[1].cap_text, 'key_cap', scopes[2].cap_text,
    'event', ARGV[11])
redis.call('ZADD', KEYS[4], whole(now + tonumber(ARGV[4])), ARGV[1])

local account = scopes[1]
return {'admitted', granted, cost, rest_of_minute,
    account.rpm or -1, account.rpm and account.rpm - account.requests - 1 or -1,
    account.tpm or -1, account.tpm and account.tpm - account.tokens - tokens or -1, period}
