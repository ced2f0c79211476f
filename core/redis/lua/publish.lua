-- Write what Postgres says about a scope: its limits and status, and what its ledger holds.
--
-- KEYS  1 scope
-- ARGV  1 revision   2 epoch: the server that the publisher asked for its name before it read Postgres
--       3 number of ledger totals; for each of them: period, nano-dollars, version, '1' = set it even if it is older
--       then field, value, … of the limits (an empty value = no limit)
--
-- An older revision never overwrites a newer one, so a slow publisher can't bring a revoked key back. The epoch is set all
-- the same: the newer limits are at least as new as what this publisher has read.
-- Returns the revision that Redis has now: ARGV 1, or the newer one that was there already.

local totals = tonumber(ARGV[3])
local stored = redis.call('HMGET', KEYS[1], 'revision', 'status')

for number = 1, totals do
    local period, charged, version, force = unpack(ARGV, number * 4, number * 4 + 3)
    local known = tonumber(redis.call('HGET', KEYS[1], 'ledger_version:' .. period) or -1)
    if force == '1' or tonumber(version) >= known then
        redis.call('HSET', KEYS[1], 'ledger:' .. period, charged, 'ledger_version:' .. period, version)
    end
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
if stored[2] and tonumber(stored[1]) > tonumber(ARGV[1]) then return tonumber(stored[1]) end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], unpack(ARGV, totals * 4 + 4))
return tonumber(ARGV[1])
