-- End a reservation without usage: give everything back but the request's place in its minute.
--
-- KEYS  1 account scope   2 key scope   3 reservation   4 leases
-- ARGV  1 event id        2 '1' = only if the lease has run out (the sweeper), '0' = always
--
-- Returns 1, or 0 when it has ended already or the sweeper came too early.

local reservation = redis.call('HMGET', KEYS[3], 'cost', 'tokens', 'minute')
if not reservation[1] then return 0 end

if ARGV[2] == '1' then
    local clock = redis.call('TIME')
    local deadline = tonumber(redis.call('ZSCORE', KEYS[4], ARGV[1]) or '')
    if not deadline or deadline > tonumber(clock[1]) * 1000 then return 0 end
end

local function whole(number)
    return string.format('%.0f', number)
end

for scope = 1, 2 do
    redis.call('HINCRBY', KEYS[scope], 'in_flight', -1)
    redis.call('HINCRBY', KEYS[scope], 'reserved', whole(0 - tonumber(reservation[1])))
    if redis.call('HGET', KEYS[scope], 'minute') == reservation[3] then
        redis.call('HINCRBY', KEYS[scope], 'minute_tokens', whole(0 - tonumber(reservation[2])))
    end
end
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1
