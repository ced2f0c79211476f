-- Set counters of scopes that were found wrong, and remove what is over: each field only if it still is what was seen, so
-- that nothing that happens meanwhile is undone.
--
-- KEYS  1… scopes (accounts and keys of one shard)
-- ARGV  1 JSON, for each field: [index of its scope, name, what was seen ("" = no field), what to write ("" = remove it)]
--
-- Returns the number of fields that were written or removed.

local changed = 0
for _, field in ipairs(cjson.decode(ARGV[1])) do
    local scope, name, seen, value = KEYS[field[1]], field[2], field[3], field[4]
    if (redis.call('HGET', scope, name) or '') == seen then
        if value == '' then redis.call('HDEL', scope, name) else redis.call('HSET', scope, name, value) end
        changed = changed + 1
    end
end
return changed
