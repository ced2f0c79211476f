"""
Dead letters and what they have charged: both in one statement, so that a parked amount never stops counting against
the caps while it waits.
"""

import base64
from collections.abc import Sequence

import asyncpg
import orjson

from metering.aggregates import move_parked
from metering.entries import DeadLetter

__all__ = ["park"]

PARK = f"""
WITH letters AS (
    INSERT INTO usage_dead_letters (
        stream, entry_id, fields, reason, account_id, key_id, period, charged_nano_usd
    )
    SELECT stream, entry_id, fields::jsonb, reason, account_id, key_id, period, charged
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::date[], $8::bigint[]
    ) AS letter (stream, entry_id, fields, reason, account_id, key_id, period, charged)
    ON CONFLICT (stream, entry_id) DO NOTHING
    RETURNING account_id, key_id, period, charged_nano_usd
), {move_parked("letters")}
SELECT count(*) FROM letters
"""  # noqa: S608  # Made of constants.

MAX_REASON_LENGTH = 500
UNKNOWN = (None, None, None, None)


async def park(connection: asyncpg.pool.PoolConnectionProxy, letters: Sequence[DeadLetter]) -> int:
    """How many of them are new. In the caller's transaction."""
    columns = [list(column) for column in zip(*map(_columns, letters), strict=True)]
    return int(await connection.fetchval(PARK, *columns))


def _columns(letter: DeadLetter) -> tuple[object, ...]:
    """Nothing in here may be refused again: Postgres stores no NUL."""
    shard, entry_id, fields = letter.entry
    encoded = {
        _storable(name.decode(errors="replace")): base64.b64encode(value).decode() for name, value in fields.items()
    }
    text = orjson.dumps(encoded).decode(), _storable(letter.reason)[:MAX_REASON_LENGTH]
    return shard.usage_stream, entry_id.decode(), *text, *(letter.amount or UNKNOWN)


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
