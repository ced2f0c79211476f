-- Write what Postgres says about a scope: its limits and status, and what its ledger holds.
--
-- KEYS  1 scope
-- ARGV  1 revision   2 period   3 ledger total, nano-dollars   4 ledger version   5 '1' = the ledger's total even if it is older
--       then field, value, … of the limits (an empty value = no limit)
--
-- An older revision never overwrites a newer one, so a slow publisher can't bring a revoked key back.
-- Returns the revision that Redis has now: ARGV 1, or the newer one that was there already.

local stored = redis.call('HMGET', KEYS[1], 'revision', 'ledger_version:' .. ARGV[2], 'status')

if ARGV[5] == '1' or tonumber(ARGV[4]) >= tonumber(stored[2] or -1) then
    redis.call('HSET', KEYS[1], 'ledger:' .. ARGV[2], ARGV[3], 'ledger_version:' .. ARGV[2], ARGV[4])
end
if stored[3] and tonumber(stored[1]) > tonumber(ARGV[1]) then return tonumber(stored[1]) end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], unpack(ARGV, 6))
return tonumber(ARGV[1])
