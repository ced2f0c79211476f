"""
What the data path asks other stores.

1. `redis_pipeline` is the one connection to Redis that all requests of a process share.
2. `look_ups` asks Postgres for what Redis does not know: once for all that wait for the same, within a deadline.
3. `cold_scopes` publishes an account to a Redis that has not seen it in this life.
"""
