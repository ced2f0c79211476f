"""The `poindexter` command. `--json` prints one document for scripts."""

import click

from deploy.commands.accounts import accounts
from deploy.commands.dead_letters import dead_letters
from deploy.commands.keys import keys
from deploy.commands.ledger import counters, reconcile
from deploy.commands.models import models
from deploy.commands.processes import gateway, metering, migrate_schema, simulators
from deploy.commands.up import up
from deploy.commands.usage import usage

__all__ = ["main"]


EXIT_STATUS = """
\b
Exit status: 0 done, 1 refused (the message says why), 2 wrong usage, 75 saved, but the
gateways could not be told yet, 78 a setting is missing or wrong.
"""


@click.group(epilog=EXIT_STATUS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="poindexter")
def main() -> None:
    """Poindexter: one key for AI access and a digital identity.

    \b
    First steps:
      poindexter up                    start everything on this machine
      poindexter accounts create ACME  add a customer
      poindexter keys create 1         give it a key
      poindexter usage 1               see what it used
    """


COMMANDS = (
    *(up, accounts, keys, usage, models),
    *(reconcile, counters, dead_letters),
    *(migrate_schema, gateway, metering, simulators),
)

for command in COMMANDS:
    main.add_command(command)
