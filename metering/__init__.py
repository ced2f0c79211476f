"""
Usage events become a ledger: none lost, none counted twice.

1. `stream` reads the usage streams that the gateways write, and confirms what the ledger has committed.
2. `entries` turns a stream entry into a row of the ledger, or says why it is none.
3. `consumer` takes one batch after the other from the streams to the ledger; what cannot be stored is parked.
4. `ledger` records a batch and its aggregates in one transaction; `partitions` makes the months it needs.

`settings`, `metrics` and `errors` serve all of them.
"""
