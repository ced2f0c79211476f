"""
Who may ask.

`api_key` is the form of a key, its checksum and its digest. `plans` is what the operator sells. `key_directory` brings
accounts and keys from Postgres to Redis, where the gateways look.
"""
