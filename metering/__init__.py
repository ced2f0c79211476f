"""
Usage events become a ledger: none lost, none counted twice.

1. `ingest` takes entries from the usage streams to the ledger. Commit first, confirm second.
2. `ledger` records a batch and its sums in one transaction, in Postgres.
3. `repair` ends what dead gateways left behind, and sets the counters in Redis right.
4. `proof` compares the upstreams' own record, the events and their sums.

`gauges` measures how far behind the ledger is; `settings`, `metrics` and `errors` serve all of them.
"""
