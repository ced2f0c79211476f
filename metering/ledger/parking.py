"""
Dead letters and what they have charged: both in one statement, so that a parked amount never stops counting against
the caps while it waits.

A letter ends in the transaction that records its event, or finds it recorded: not at its replay, which a Redis that
loses its last writes may forget. One that comes back from a replay is the same letter as before.
"""

import base64
from collections.abc import Collection, Iterable
from datetime import date

import asyncpg
import orjson

from core.principal import AccountId, KeyId
from core.usage.usage_event import GATEWAY_LOST
from metering.ledger.aggregates import move_parked
from metering.ledger.entries import DeadLetter

__all__ = ["LETTERS_WAIT", "WAITS", "park", "unpark"]

WAITS = "replayed_at IS NULL AND written_off_at IS NULL"

LETTERS_WAIT = f"SELECT EXISTS (SELECT FROM usage_dead_letters WHERE {WAITS} AND event_id IS NOT NULL)"  # noqa: S608  # Made of constants.

# A letter whose replay is being committed is waited for, and then has its new `on_stream_as`.
PARK = f"""
WITH arriving AS (
    SELECT stream, entry_id, fields::jsonb, reason, account_id, key_id, period, charged, event_id, is_estimate
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::date[], $8::bigint[],
        $9::uuid[], $10::boolean[]
    ) AS letter (
        stream, entry_id, fields, reason, account_id, key_id, period, charged, event_id, is_estimate
    )
), returned AS (
    UPDATE usage_dead_letters AS letter SET
        reason = arriving.reason,
        on_stream_since = CASE WHEN on_stream_as <> arriving.entry_id THEN on_stream_since END,
        on_stream_as = CASE WHEN on_stream_as <> arriving.entry_id THEN on_stream_as END
    FROM arriving
    WHERE letter.event_id = arriving.event_id AND letter.stream = arriving.stream AND letter.fields = arriving.fields
        AND {WAITS}
    RETURNING arriving.stream, arriving.entry_id
), letters AS (
    INSERT INTO usage_dead_letters (
        stream, entry_id, fields, reason, account_id, key_id, period, charged_nano_usd, event_id, is_estimate
    )
    SELECT * FROM arriving WHERE (stream, entry_id) NOT IN (SELECT stream, entry_id FROM returned)
    ON CONFLICT (stream, entry_id) DO NOTHING
    RETURNING account_id, key_id, period, charged_nano_usd
), {move_parked("letters")}
SELECT count(*) FROM letters
"""  # noqa: S608  # Made of constants.

# What the gateway settled itself stays beside a row that is an estimate: it is worth more.
UNPARK = f"""
WITH superfluous AS MATERIALIZED (
    SELECT dead_letter_id
    FROM usage_dead_letters AS letter JOIN arrived USING (event_id) JOIN usage_events AS event USING (event_id, day)
    WHERE {WAITS} AND (is_estimate OR event.estimated <> '{GATEWAY_LOST}')
), letters AS (
    UPDATE usage_dead_letters SET replayed_at = now()
    WHERE dead_letter_id = ANY (ARRAY (SELECT dead_letter_id FROM superfluous)) AND {WAITS}
    RETURNING account_id, key_id, period, charged_nano_usd
), {move_parked("letters", "-")}
SELECT DISTINCT account_id, key_id, period FROM letters WHERE account_id IS NOT NULL
"""  # noqa: S608  # Made of constants.

MAX_REASON_LENGTH = 500
UNKNOWN = (None, None, None, None)


async def park(connection: asyncpg.pool.PoolConnectionProxy, letters: Iterable[DeadLetter]) -> int:
    """How many of them are new. In the caller's transaction."""
    columns = [list(column) for column in zip(*map(_columns, _without_copies(letters)), strict=True)]
    return int(await connection.fetchval(PARK, *columns))


async def unpark(connection: asyncpg.pool.PoolConnectionProxy) -> list[tuple[AccountId, KeyId, date]]:
    """End the letters of the events in `arrived`, which are recorded now, and return whose they were. In the caller's
    transaction."""
    return [tuple(row) for row in await connection.fetch(UNPARK)]


def _without_copies(letters: Iterable[DeadLetter]) -> Collection[DeadLetter]:
    """Of the copies of one event the last: the one that a replay has put there, if it was one."""
    found = {}
    for letter in letters:
        shard, entry_id, fields = letter.entry
        identity = letter.identity
        found[shard, identity[0] if identity else entry_id, frozenset(fields.items())] = letter
    return found.values()


def _columns(letter: DeadLetter) -> tuple[object, ...]:
    """Nothing in here may be refused again: Postgres stores no NUL."""
    shard, entry_id, fields = letter.entry
    encoded = {
        _storable(name.decode(errors="replace")): base64.b64encode(value).decode() for name, value in fields.items()
    }
    text = orjson.dumps(encoded).decode(), _storable(letter.reason)[:MAX_REASON_LENGTH]
    identity = letter.identity or (None, False)
    return shard.usage_stream, entry_id.decode(), *text, *(letter.amount or UNKNOWN), *identity


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
