"""
What is owed for a request, from its admission to its one usage event.

1. `reservation` is what was admitted: it is settled or released, exactly once. `leases` keeps it alive in Redis.
2. `charge` decides from an answer's usage report what was used; `reservation` makes the usage event of it.
3. `settlement` ends reservations in Redis, or in the spool while Redis does not answer.
4. `offline_allowance` bounds what is served while Redis is away. `rate_limit_headers` tell a client what it has left.
"""
