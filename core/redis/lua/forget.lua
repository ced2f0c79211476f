-- Remove consumers from a group that have not been heard of for long and have nothing pending: a process that was killed
-- leaves its name behind. One script: a consumer that reads in between would lose what it has read.
--
-- KEYS  1 usage stream
-- ARGV  1 consumer group     2 how long a consumer must have been silent, ms
--
-- Returns the number of consumers removed.

local removed = 0
for _, consumer in ipairs(redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do  -- Nothing where there is no group.
    local about = {}
    for at = 1, #consumer, 2 do about[consumer[at]] = consumer[at + 1] end
    if about.pending == 0 and about.idle >= tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
        removed = removed + 1
    end
end
return removed
