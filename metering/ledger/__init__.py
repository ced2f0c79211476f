"""
The ledger in Postgres.

1. `entries` turns a stream entry into a row, or says why it is none.
2. `ledger` records a batch and its `aggregates` in one transaction; `partitions` makes the months it needs. An event
   that the gateway settled itself replaces the sweeper's estimate. What cannot be read goes into `parking`, where its
   amount keeps counting against the caps.
3. `scopes` are the accounts and keys as Redis knows them, with the totals that the ledger tells it.
4. `usage_report` answers what an account used.
"""
