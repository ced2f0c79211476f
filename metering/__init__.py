"""
Usage events become a ledger: none lost, none counted twice.

1. `stream` reads the usage streams that the gateways write, and confirms what the ledger has committed.
2. `entries` turns a stream entry into a row of the ledger, or says why it is none.
3. `consumer` takes one batch after the other from the streams to the ledger. Commit first, confirm second.
4. `ledger` records a batch and its `aggregates` in one transaction; `partitions` makes the months it needs. An event
   that the gateway settled itself replaces the sweeper's estimate. What cannot be read goes into `parking`, where its
   amount keeps counting against the caps.

What went wrong on the way is made good:

* `sweeper` ends the reservations that a dead gateway left behind; `suspects` is its memory of what it saw before.
* `dead_letters` keeps what the ledger could not take, and puts it back on its stream after a fix.
* `counters` compares the counters in Redis with what they are a cache of, and sets them right: `published` those that
  come from Postgres, one by one of its `scopes`; the others by what a `shard_reader` has `counted`. `counter_watch`
  does so whenever Redis comes back and every minute.
* `reconciliation` compares the upstreams' own record (`served`), the events and their sums: the proof. `audit` adds
  what is not in the ledger yet, the `backlog` of the streams among it, and what is estimated: the whole report.

`usage_report` answers what an account used. `admin` is the port for health checks and metrics, `gauges` measures how
far behind the ledger is; `settings`, `metrics` and `errors` serve all of them.
"""
