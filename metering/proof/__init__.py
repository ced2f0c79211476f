"""
That nothing was lost and nothing counted twice, in numbers.

`reconciliation` compares the upstreams' own record (`served`), the events and their sums. `audit` adds what is not in
the ledger yet, the `backlog` of the streams among it, and what is estimated: the whole report.
"""
