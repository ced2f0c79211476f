"""
What went wrong is repaired.

* `sweeper` ends the reservations that a dead gateway left behind; `suspects` is its memory of what it saw before.
* `counters` compares the counters in Redis with what they are a cache of, and sets them right: `published` those that
  come from Postgres, the others by what a `shard_reader` has `counted`. `counter_watch` does so whenever Redis comes
  back and every minute.
"""
