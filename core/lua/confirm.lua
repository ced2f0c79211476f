-- The ledger has committed these stream entries: acknowledge and delete them, take their amounts out of `pending`, and set
-- the ledger's totals. One script, so that spent = ledger + pending never misses an event.
--
-- KEYS  1 usage stream, then the scopes (accounts and keys of this shard)
-- ARGV  1 consumer group   2 number of entries
--       then for each entry: stream id, charged nano-dollars, period, index of its account scope, index of its key scope
--            (indexes into the scopes, from 1; 0 = no scope, for an entry that cannot be read)
--       then for each ledger total: index of the scope, period, total nano-dollars, version (number of events)
--
-- An entry that is gone already (confirmed by another consumer) changes nothing. A total with a smaller version than the
-- stored one is ignored: two consumers may confirm in another order than they committed. A total may hold events whose
-- entries follow in the next call or belong to another consumer: for that moment they count twice, never not at all.
--
-- Returns the number of entries that this call has deleted.

local stream = KEYS[1]
local entries = tonumber(ARGV[2])
local deleted = 0
local ids, settled = {}, {}  -- settled[scope][period]: what leaves `pending`.

for entry = 0, entries - 1 do
    local at = 3 + entry * 5
    ids[entry + 1] = ARGV[at]
    if redis.call('XDEL', stream, ARGV[at]) == 1 then
        deleted = deleted + 1
        for offset = 3, 4 do
            local scope, period = tonumber(ARGV[at + offset]), ARGV[at + 2]
            settled[scope] = settled[scope] or {}
            settled[scope][period] = (settled[scope][period] or 0) + tonumber(ARGV[at + 1])
        end
    end
end
if entries > 0 then redis.call('XACK', stream, ARGV[1], unpack(ids)) end

settled[0] = nil
for scope, periods in pairs(settled) do
    for period, amount in pairs(periods) do
        redis.call('HINCRBY', KEYS[scope + 1], 'pending:' .. period, string.format('%.0f', 0 - amount))
    end
end

for at = 3 + entries * 5, #ARGV, 4 do
    local scope, period = KEYS[tonumber(ARGV[at]) + 1], ARGV[at + 1]
    local version = tonumber(redis.call('HGET', scope, 'ledger_version:' .. period) or -1)
    if tonumber(ARGV[at + 3]) > version then
        redis.call('HSET', scope, 'ledger:' .. period, ARGV[at + 2], 'ledger_version:' .. period, ARGV[at + 3])
    end
end
return deleted
