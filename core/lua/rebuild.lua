-- Compare what scopes count with what is really there, and set what differs. One script, because the stream, the live
-- reservations and the counters must be read in the same moment; set, not added, so ten rebuilds at once do what one does.
--
--   pending:<period>       = sum of `c` of the entries in the usage stream
--   reserved, in_flight    = sum and number of the live reservations
--
-- KEYS  1 usage stream   2 leases   then the scopes (accounts and keys of this shard)
-- ARGV  1 '1' = set what differs, '0' = only compare      2 what the name of a reservation begins with
--       3 longest stream to count: this script holds Redis up for some 8 ms per 1,000 entries
--       4 oldest period to keep: ledger and pending fields of older ones are removed once nothing is pending in them
--       then for each scope `account <id>` or `key <id>`
--
-- Returns {"too long", length} or {"compared", scope, field, stored, expected, scope, field, …}.

local stream, leases, write = KEYS[1], KEYS[2], ARGV[1] == '1'
local length = redis.call('XLEN', stream)
if length > tonumber(ARGV[3]) then return {'too long', length} end

local function whole(number)
    return string.format('%.0f', number)
end

local by_identity, by_name, scopes = {}, {}, {}
for position = 3, #KEYS do
    local scope = {name = KEYS[position], pending = {}, reserved = 0, in_flight = 0}
    scopes[#scopes + 1] = scope
    by_identity[ARGV[position + 2]] = scope
    by_name[scope.name] = scope
end

local function count_entry(fields)
    local value = {}
    for at = 1, #fields, 2 do value[fields[at]] = fields[at + 1] end
    local readable, event = pcall(cjson.decode, value.e or '')
    local charged = tonumber(value.c or '')
    if not (readable and charged and type(event) == 'table' and tonumber(event.account) and tonumber(event.key)) then return end
    for _, identity in ipairs({'account ' .. whole(event.account), 'key ' .. whole(event.key)}) do
        local scope, period = by_identity[identity], tostring(event.period)
        if scope then scope.pending[period] = (scope.pending[period] or 0) + charged end
    end
end

local from = '-'
repeat
    local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', 500)
    for _, entry in ipairs(entries) do
        count_entry(entry[2])
        from = '(' .. entry[1]
    end
until #entries < 500

for _, event_id in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    local reservation = redis.call('HMGET', ARGV[2] .. event_id, 'cost', 'account', 'key')
    for at = 2, 3 do
        local scope = reservation[at] and by_name[reservation[at]]
        if scope then
            scope.reserved = scope.reserved + tonumber(reservation[1])
            scope.in_flight = scope.in_flight + 1
        end
    end
end

local answer = {'compared'}
local function compare(scope, field, stored, expected)
    if tonumber(stored or 0) == expected then return end
    for _, part in ipairs({scope.name, field, tostring(stored or 0), whole(expected)}) do answer[#answer + 1] = part end
    if write then redis.call('HSET', scope.name, field, whole(expected)) end
end

for _, scope in ipairs(scopes) do
    local stored, flat = {}, redis.call('HGETALL', scope.name)
    for at = 1, #flat, 2 do stored[flat[at]] = flat[at + 1] end
    compare(scope, 'reserved', stored.reserved, scope.reserved)
    compare(scope, 'in_flight', stored.in_flight, scope.in_flight)
    for field in pairs(stored) do
        local kind, period = string.match(field, '^([a-z_]+):(.+)$')
        if kind == 'pending' then scope.pending[period] = scope.pending[period] or 0 end
        if write and kind and period < ARGV[4] and (scope.pending[period] or 0) == 0 then
            redis.call('HDEL', scope.name, field)
            stored[field] = nil
        end
    end
    for period, expected in pairs(scope.pending) do
        compare(scope, 'pending:' .. period, stored['pending:' .. period], expected)
    end
end
return answer
