"""
From the usage streams to the ledger.

1. `stream` reads the streams that the gateways write, and confirms what the ledger has committed.
2. `consumer` takes one batch after the other to the ledger. Commit first, confirm second.
3. `dead_letters` lists what the ledger could not take, and puts it back on its stream after a fix.
"""
