"""
The subcommands of poindexter, one noun per module.

* `up` starts the whole system; `processes` starts one process of it (gateway, metering, simulators) and migrate.
* `accounts` and `keys` are what customers own; `usage` is what they used.
* `ledger` proves that the books are right and rebuilds counters; `dead_letters` replays or writes off what could not be
  read.
* `models` checks a models file before it goes live.
* `running` asks the services of the installation; `options` are those that several commands share.
"""
