-- Mark a reservation as sent to an upstream: from now on its end is a usage event, even if the gateway dies.
--
-- KEYS  1 reservation
-- ARGV  1 the usage event to record if nobody settles it (an estimate)
--
-- Returns 1, or 0 when the reservation has ended already.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'event', ARGV[1])
return 1
