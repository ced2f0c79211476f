"""
How the system is run.

* `cli` is the `poindexter ...` command; its subcommands lie in `commands`, and `printing` is how they answer.
* `services` opens the services that a subcommand works with, on whichever installation it is pointed at.
* `local` is the whole system on one machine, for `poindexter up` and for the tests.

The rest is for other tools: Dockerfile, compose.yaml, prometheus/, grafana/, RUNBOOK.md. models.toml is the models file
that comes with the product.
"""
