"""
What Redis has not taken, or may lose again, is kept on the disk until it can't be lost any more.

A `record` is one line of a `file`, in a versioned form of its own. `contents` picks one record for each event from all
files: the newest, and a settlement before any intent. `replay` sends records to Redis, `backlog` keeps the files until
Redis cannot lose what they held, `recent_settlements` remembers what Redis acknowledged a moment ago. `spool` is all of
them together, as the rest of the gateway uses it.
"""
