"""`poindexter reconcile`, `counters` and `dead-letters`: what an operator does when the ledger has to be trusted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import orjson

from core.principal import AccountId
from deploy.commands.options import ID, json_option, state_option
from deploy.commands.running import ask
from deploy.office import Office
from deploy.printing import document, fail, table
from metering.counters import CounterDifference, Counters
from metering.dead_letters import DeadLetters, ParkedEntry
from metering.reconciliation import Difference, Reconciliation

__all__ = ["counters", "dead_letters", "reconcile"]


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
    """Prove that nothing is lost and nothing counted twice, or explain every difference. Status 1 if there is one."""
    record = [orjson.loads(line) for line in served.read_bytes().splitlines()] if served else []
    found = ask(state_directory, lambda office: _differences(office, days, record))
    if as_json:
        document([str(difference) for difference in found])
    else:
        click.echo("\n".join(str(difference) for difference in found) or "No difference: the ledger adds up.")
    raise SystemExit(1 if found else 0)


async def _differences(
    office: Office, days: int, record: list[dict[str, object]]
) -> list[Difference | CounterDifference]:
    reconciliation = Reconciliation(office.pool)
    since = (datetime.now(UTC) - timedelta(days=days)).date()
    found: list[Difference | CounterDifference] = [*await reconciliation.aggregate_differences(since)]
    found += await reconciliation.upstream_differences(record)
    return found + await _counters(office).check()


@click.group(short_help="The gateways' counters in Redis.")
def counters() -> None:
    """The gateways' counters in Redis, which are a cache of the ledger plus live reservations."""


@counters.command()
@click.argument("account_id", type=ID, required=False)
@state_option
@json_option
def rebuild(account_id: int | None, state_directory: Path, as_json: bool) -> None:
    """Set the counters of the account ACCOUNT_ID, or of all, from the ledger. Safe while everything runs."""
    accounts = None if account_id is None else [AccountId(account_id)]
    found = ask(state_directory, lambda office: _counters(office).rebuild(accounts))
    if as_json:
        document(found)
        return
    click.echo("\n".join(f"set: {difference}" for difference in found) or "Every counter was right.")


@click.group("dead-letters", short_help="Usage entries that could not be read.")
def dead_letters() -> None:
    """Usage entries that could not be read. They are kept until they have been replayed; nothing is dropped."""


@dead_letters.command("list")
@click.option("--replayed", is_flag=True, help="Show those already replayed as well.")
@state_option
@json_option
def list_letters(replayed: bool, state_directory: Path, as_json: bool) -> None:
    """What waits, and why."""
    found = ask(state_directory, lambda office: DeadLetters(office.pool, office.redis).list(replayed=replayed))
    if as_json:
        document([_readable(letter) for letter in found])
        return
    rows = [
        (str(letter.dead_letter_id), f"{letter.parked_at:%Y-%m-%d %H:%M}", letter.stream, letter.reason)
        for letter in found
    ]
    table(("id", "parked", "stream", "reason"), rows, empty="No dead letter: every usage event is in the ledger.")


@dead_letters.command()
@click.argument("dead_letter_id", type=ID)
@state_option
def show(dead_letter_id: int, state_directory: Path) -> None:
    """The dead letter DEAD_LETTER_ID with everything it holds."""
    letter = ask(state_directory, lambda office: DeadLetters(office.pool, office.redis).show(dead_letter_id))
    if letter is None:
        fail(f"There is no dead letter {dead_letter_id}. `poindexter dead-letters list` shows them.")
    document(_readable(letter))


@dead_letters.command()
@click.argument("dead_letter_id", type=ID)
@state_option
def replay(dead_letter_id: int, state_directory: Path) -> None:
    """Put DEAD_LETTER_ID back on its stream, after what was wrong has been mended. Never bills anything twice."""
    done = ask(state_directory, lambda office: DeadLetters(office.pool, office.redis).replay(dead_letter_id))
    if not done:
        fail(f"There is no dead letter {dead_letter_id} that waits to be replayed.")
    click.echo("Replayed. If it still can't be read, it comes back as a new dead letter.")


def _counters(office: Office) -> Counters:
    return Counters(office.pool, office.redis, shard_count=office.shard_count, now=lambda: datetime.now(UTC))


def _readable(letter: ParkedEntry) -> dict[str, object]:
    fields = {name: value.decode(errors="replace") for name, value in letter.fields.items()}
    return {
        "dead_letter_id": letter.dead_letter_id,
        "parked_at": letter.parked_at,
        "replayed_at": letter.replayed_at,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "reason": letter.reason,
        "fields": fields,
    }
