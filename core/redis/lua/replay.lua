-- Put a parked entry back on the usage stream, and its amount back into `pending`: `confirm` took both out together. In
-- Postgres the amount is parked until the event is recorded, so that it may count twice for a moment, never not at all.
--
-- An entry that was put back before and is still there is left as it is. One that is not, of a letter that still waits,
-- is lost: what ends the letter is committed before an entry is deleted.
--
-- KEYS  1 usage stream   2 account scope   3 key scope     (2 and 3 are absent when it names no account)
-- ARGV  1 period         2 charged nano-dollars            3 id of the entry that it was put back as before ('' = none)
--       then field, value, … of the entry
--
-- Returns the id of the entry on the stream.

if ARGV[3] ~= '' and #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) > 0 then return ARGV[3] end
for scope = 2, #KEYS do
    redis.call('HINCRBY', KEYS[scope], 'pending:' .. ARGV[1], ARGV[2])
end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4))
