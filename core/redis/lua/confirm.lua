-- The ledger has committed these stream entries: acknowledge and delete them, take their amounts out of `pending`, and set
-- the ledger's totals. One script, so that spent = ledger + pending never misses an event.
--
-- KEYS  1 usage stream, then the scopes (accounts and keys of this shard)
-- ARGV  1 consumer group
--       2 JSON, for each entry: [stream id, charged nano-dollars, period, index of its account scope, of its key scope]
--         (indexes into the scopes, from 1; 0 = no scope, for an entry that does not name its account)
--       3 JSON, for each ledger total: [index of the scope, period, total nano-dollars as text, version (grows with every change)]
--
-- An entry that is gone already (confirmed by another consumer) changes nothing. A total with a smaller version than the
-- stored one is ignored: two consumers may confirm in another order than they committed. A total may hold events whose
-- entries follow in the next call or belong to another consumer: for that moment they count twice, never not at all.
--
-- Returns the number of entries that this call has deleted.

local stream, entries = KEYS[1], cjson.decode(ARGV[2])
local deleted = 0
local ids, settled = {}, {}  -- settled[scope][period]: what leaves `pending`.

for number, entry in ipairs(entries) do
    ids[number] = entry[1]
    -- Deleting comes first: a Redis whose memory is full refuses HSET to a script that has not written yet.
    if redis.call('XDEL', stream, entry[1]) == 1 then
        deleted = deleted + 1
        for position = 4, 5 do
            local scope, period = entry[position], entry[3]
            settled[scope] = settled[scope] or {}
            settled[scope][period] = (settled[scope][period] or 0) + entry[2]
        end
    end
end
if #ids > 0 then redis.call('XACK', stream, ARGV[1], unpack(ids)) end

settled[0] = nil
for scope, periods in pairs(settled) do
    for period, amount in pairs(periods) do
        redis.call('HINCRBY', KEYS[scope + 1], 'pending:' .. period, string.format('%.0f', 0 - amount))
    end
end

for _, total in ipairs(cjson.decode(ARGV[3])) do
    local scope, period, version = KEYS[total[1] + 1], total[2], total[4]
    if version > tonumber(redis.call('HGET', scope, 'ledger_version:' .. period) or -1) then
        redis.call('HSET', scope, 'ledger:' .. period, total[3], 'ledger_version:' .. period, string.format('%.0f', version))
    end
end
return deleted
