"""`poindexter reconcile` and `counters`: what an operator does when the ledger has to be trusted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from core.principal import AccountId
from deploy.commands.options import ID, json_option, state_option
from deploy.commands.running import ask
from deploy.printing import document
from deploy.services import Services
from metering.errors import MalformedRecord
from metering.ledger.scopes import CounterDifference
from metering.proof.audit import Audit, Report
from metering.proof.served import Served, read_served
from metering.repair.counters import Counters

__all__ = ["counters", "reconcile"]

DIFFERENCES, UNFINISHED = 1, 3
"""Exit statuses; 2 is that of a wrong command line."""


@click.command(short_help="Prove that the ledger adds up.")
@click.option("--days", type=click.IntRange(1, 3660), default=35, show_default=True, help="How far back to compare.")
@click.option(
    "--served",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The upstreams' own record, one JSON object a line (the simulators write one with --record).",
)
@state_option
@json_option
def reconcile(days: int, served: Path | None, state_directory: Path, as_json: bool) -> None:
    """Prove that nothing is lost and nothing counted twice, or explain every difference.

    Status 0: the ledger adds up and holds everything. 1: there are differences. 3: no difference, but some usage is not
    in the ledger yet (dead letters, streams that nobody reads)."""
    record = _read(served) if served else None
    since = (datetime.now(UTC) - timedelta(days=days)).date()

    async def audit(services: Services) -> Report:
        audit = Audit(services.pool, services.redis, _counters(services), shard_count=services.shard_count)
        return await audit.report(since, record)

    report = ask(state_directory, audit)
    if as_json:
        document(report)
    else:
        _print(report)
    raise SystemExit(DIFFERENCES if report.differences else UNFINISHED if report.unfinished else 0)


def _read(file: Path) -> list[Served]:
    try:
        return read_served(file.read_bytes().splitlines())
    except MalformedRecord as error:
        raise click.BadParameter(f"{error}. Nothing was compared.", param_hint=f"--served {file}") from error
    except OSError as error:
        raise click.BadParameter(f"it can't be read: {error.strerror}.", param_hint=f"--served {file}") from error


def _print(report: Report) -> None:
    for title, lines in (
        ("Differences:", report.differences),
        ("Not in the ledger yet:", report.unfinished),
        ("Estimated, and marked so:", report.estimates),
        ("Compared:", report.compared),
        ("Not compared:", report.not_compared),
    ):
        if lines:
            click.echo("\n  ".join([title, *lines]))
    if report.clean:
        click.echo("No difference: the ledger adds up.")


@click.group(short_help="The gateways' counters in Redis.")
def counters() -> None:
    """The gateways' counters in Redis, which are a cache of the ledger plus live reservations."""


@counters.command(short_help="Set them from the ledger.")
@click.argument("account_id", type=ID, required=False)
@state_option
@json_option
def rebuild(account_id: int | None, state_directory: Path, as_json: bool) -> None:
    """Set the counters of the account ACCOUNT_ID, or of all, from the ledger. Safe while everything runs."""

    async def set_right(services: Services) -> list[CounterDifference]:
        if account_id is None:
            return await _counters(services).rebuild()
        await services.accounts.require(AccountId(account_id))
        return await _counters(services).rebuild([AccountId(account_id)])

    found = ask(state_directory, set_right)
    if as_json:
        document(found)
        return
    click.echo("\n".join(f"set: {difference}" for difference in found) or "Every counter was right.")


def _counters(services: Services) -> Counters:
    return Counters(services.pool, services.redis, shard_count=services.shard_count, now=lambda: datetime.now(UTC))
