-- Prolong the lease of a long answer and note what has been delivered, so that a dying gateway loses no count.
--
-- KEYS  1 reservation   2 leases
-- ARGV  1 event id      2 lease, ms     3 the usage event to record if nobody settles it, with the count so far
--
-- Returns 1, or 0 when the reservation has ended already.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[1], 'event', ARGV[3])
return 1
