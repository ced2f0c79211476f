"""`poindexter dead-letters`: usage entries that could not be read, until they are replayed or written off."""

import getpass
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import click

from core.usage.money import format_usd
from deploy.commands.options import ID, json_option, state_option
from deploy.commands.running import ask
from deploy.printing import document, fail, table
from deploy.services import Services
from metering.errors import RedisNotSynced
from metering.ingest.dead_letters import DeadLetters, ParkedEntry, Selection

__all__ = ["dead_letters"]

MAX_LISTED = 100

id_argument = click.argument("dead_letter_id", type=ID, required=False)
all_option = click.option("--all", "everything", is_flag=True, help="Every letter that waits.")


@click.group("dead-letters", short_help="Usage entries that could not be read.")
def dead_letters() -> None:
    """Usage entries that could not be read.

    They count against the caps until they are recorded, after a replay, or written off; nothing is dropped."""


@dead_letters.command("list")
@click.option("--ended", is_flag=True, help="Show those already replayed or written off as well.")
@state_option
@json_option
def list_letters(ended: bool, state_directory: Path, as_json: bool) -> None:
    """What waits, and why."""
    found = ask(state_directory, lambda services: _letters(services).list(ended=ended, limit=MAX_LISTED))
    if as_json:
        document([_readable(letter) for letter in found])
        return
    rows = [
        (
            str(letter.dead_letter_id),
            f"{letter.parked_at:%Y-%m-%d %H:%M}",
            None if letter.account_id is None else str(letter.account_id),
            None if letter.charged is None else format_usd(letter.charged),
            letter.stream,
            _state(letter),
            letter.reason.partition("\n")[0],  # `show` has all of it.
        )
        for letter in found
    ]
    columns = ("id", "parked", "account", "charged", "stream", "state", "reason")
    table(columns, rows, empty="No dead letter: every usage event is in the ledger.")
    if len(found) == MAX_LISTED:
        waiting = ask(state_directory, lambda services: _letters(services).waiting())
        click.echo(f"The first {MAX_LISTED}; {waiting.letters:,} wait, with {format_usd(waiting.charged)}.")


@dead_letters.command()
@click.argument("dead_letter_id", type=ID)
@state_option
def show(dead_letter_id: int, state_directory: Path) -> None:
    """The dead letter DEAD_LETTER_ID with everything it holds."""
    letter = ask(state_directory, lambda services: _letters(services).show(dead_letter_id))
    if letter is None:
        fail(f"There is no dead letter {dead_letter_id}. `poindexter dead-letters list` shows them.")
    document(_readable(letter))


@dead_letters.command(short_help="Put one, or all, back on their streams.")
@id_argument
@all_option
@click.option("--reason", default="", help="With --all: only letters whose reason contains this text.")
@state_option
def replay(dead_letter_id: int | None, everything: bool, reason: str, state_directory: Path) -> None:
    """Put DEAD_LETTER_ID, or --all, back on their streams, after what was wrong has been fixed.

    Never bills anything twice, and may be repeated: what is on its stream is left there, what Redis has lost since is
    put back again."""
    selection = _selection(dead_letter_id, everything, reason)
    count = _end(state_directory, selection, lambda letters: letters.replay(selection, progress=_progress))
    if not count:
        click.echo(f"No dead letter whose reason contains {reason!r} waits." if reason else "No dead letter waits.")
        return
    click.echo(f"Replayed {count:,}. They wait until the ledger has them; what still can't be read stays.")


@dead_letters.command("write-off", short_help="Give up one, or all; they are kept.")
@id_argument
@all_option
@click.option("--matching", default="", help="With --all: only letters whose reason contains this text.")
@click.option("--reason", required=True, help="Why nobody will ever bill them. Kept with the letter.")
@click.option("--by", default=getpass.getuser, show_default="your user name", help="Who decides it. Kept as well.")
@state_option
def write_off(
    dead_letter_id: int | None, everything: bool, matching: str, reason: str, by: str, state_directory: Path
) -> None:
    """Give up DEAD_LETTER_ID, or --all: they are kept but never billed, and stop counting against the caps."""
    selection = _selection(dead_letter_id, everything, matching)
    count = _end(
        state_directory,
        selection,
        lambda letters: letters.write_off(selection, by=by, reason=reason, progress=_progress),
    )
    click.echo(f"Written off: {count:,}.")


def _letters(services: Services) -> DeadLetters:
    return DeadLetters(services.pool, services.redis)


def _selection(dead_letter_id: int | None, everything: bool, reason: str) -> Selection:
    if (dead_letter_id is None) != everything:
        raise click.UsageError("Name one dead letter, or say --all.")
    if reason and not everything:
        raise click.UsageError("A text to look for goes with --all.")
    return Selection(dead_letter_id, reason)


def _end(state_directory: Path, selection: Selection, act: Callable[[DeadLetters], Awaitable[int]]) -> int:
    try:
        count = ask(state_directory, lambda services: act(_letters(services)))
    except RedisNotSynced as error:
        fail(str(error), status=os.EX_TEMPFAIL)
    if not count and selection.dead_letter_id is not None:
        _fail_for(state_directory, selection.dead_letter_id)
    return count


def _fail_for(state_directory: Path, dead_letter_id: int) -> NoReturn:
    letter = ask(state_directory, lambda services: _letters(services).show(dead_letter_id))
    if letter and not letter.ended and letter.on_stream_since:
        fail(f"Dead letter {dead_letter_id} is {_state(letter)}. If it does not leave it, replay it again first.")
    fail(f"There is no dead letter {dead_letter_id} that waits.")


def _state(letter: ParkedEntry) -> str:
    if letter.written_off_at:
        return f"written off {letter.written_off_at:%Y-%m-%d %H:%M}"
    if letter.replayed_at:
        return f"replayed {letter.replayed_at:%Y-%m-%d %H:%M}"
    if letter.on_stream_since:
        return f"on the stream since {letter.on_stream_since:%Y-%m-%d %H:%M:%S}"
    return "waits"


def _progress(done: int) -> None:
    if done > 1:
        click.echo(f"{done:,} …", err=True)


def _readable(letter: ParkedEntry) -> dict[str, object]:
    fields = {name: value.decode(errors="replace") for name, value in letter.fields.items()}
    return {
        "dead_letter_id": letter.dead_letter_id,
        "parked_at": letter.parked_at,
        "account_id": letter.account_id,
        "key_id": letter.key_id,
        "period": letter.period,
        "charged_nano_usd": letter.charged,
        "event_id": letter.event_id,
        "on_stream_since": letter.on_stream_since,
        "on_stream_as": letter.on_stream_as,
        "replayed_at": letter.replayed_at,
        "written_off_at": letter.written_off_at,
        "written_off_by": letter.written_off_by,
        "written_off_reason": letter.written_off_reason,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "reason": letter.reason,
        "fields": fields,
    }
