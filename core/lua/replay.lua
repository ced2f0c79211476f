-- Put a parked entry back on the usage stream, and its amount back into `pending`: `confirm` took both out together. In
-- Postgres the amount is parked until this has been done, so that it may count twice for a moment, never not at all.
--
-- KEYS  1 usage stream   2 account scope   3 key scope     (2 and 3 are absent when it names no account)
-- ARGV  1 period         2 charged nano-dollars            then field, value, … of the entry
--
-- Returns the new entry's id.

for scope = 2, #KEYS do
    redis.call('HINCRBY', KEYS[scope], 'pending:' .. ARGV[1], ARGV[2])
end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
