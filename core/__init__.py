"""
What two or more processes have to agree on.

* Who asks: `api_key` (format, checksum, digest), `principal` (account and key), `key_directory` (Postgres → Redis),
  `plans` (what the operator sells).
* What it costs: `money`, `token_usage` (token classes), `model_prices`, `models_file` and `models_table` (models,
  targets, prices, validated whole, with `upstream_rules` for what can be sent), `billing_period`.
* What is recorded: `usage_event` (the wire form between gateway and metering).
* Where it lies: `redis_keys` (every key and field), `lua_scripts` (the scripts in `lua/` that change them),
  `script_calls` (their arguments), `migrations` (the tables in `schema/`), `connections`, `redis_address` and
  `postgres_url` (what REDIS_URL and DATABASE_URL may say), `installation` (the number of shards, fixed for good).
* How a process runs: `settings`, `listener` (its ports), `logs` (over `line_output`), `worker_loop`; `failpoints`,
  where a test lets it die.
"""
