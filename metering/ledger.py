"""
The usage ledger: one batch is one transaction.

Events go in by COPY into a temporary table, then one statement records the new ones and adds them, and only them, to
the aggregates. A second delivery finds its event id, is not returned by the insert and so adds nothing.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg
import orjson

from core.failpoints import Failpoints
from core.principal import AccountId, KeyId
from metering.entries import COLUMNS, DeadLetter, UsageRow
from metering.errors import PartitionMissing, RefusedRows
from metering.partitions import Partitions

__all__ = ["WHOLE_ACCOUNT", "Ledger", "PeriodTotal", "Recorded"]

WHOLE_ACCOUNT = KeyId(0)
"""The key id under which `usage_periods` holds the sum of an account."""

MEASURES = (
    "requests",
    "estimated_requests",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "owed_nano_usd",
    "charged_nano_usd",
    "waived_nano_usd",
)
SUMMED = MEASURES[2:]

STORED = ", ".join("weights::integer[]" if name == "weights" else name for name in COLUMNS)
# A commit that we confirm in Redis must survive a crash of Postgres, whatever the server's default is.
BEGIN = f"""
SET LOCAL synchronous_commit = on;
CREATE TEMPORARY TABLE IF NOT EXISTS arrived ON COMMIT DELETE ROWS AS
SELECT {", ".join("weights::text" if name == "weights" else name for name in COLUMNS)} FROM usage_events WITH NO DATA
"""  # noqa: S608  # Made of constants.


def _sums(names: Sequence[str]) -> str:
    return ", ".join(f"sum({name})::bigint AS {name}" for name in names)


def _added(table: str) -> str:
    return ", ".join(f"{name} = {table}.{name} + EXCLUDED.{name}" for name in MEASURES)


# The ORDER BY clauses keep two consumers from waiting for each other's rows: everybody locks in the same order.
RECORD = f"""
WITH recorded AS (
    INSERT INTO usage_events ({", ".join(COLUMNS)})
    SELECT {STORED} FROM arrived ORDER BY event_id
    ON CONFLICT (event_id, day) DO NOTHING   -- The day comes from the event, never from now().
    RETURNING period, day, account_id, key_id, model, estimated, {", ".join(SUMMED)}
), added AS (
    SELECT period, day, account_id, key_id, model,
           count(*) AS requests, count(*) FILTER (WHERE estimated <> '') AS estimated_requests, {_sums(SUMMED)}
    FROM recorded GROUP BY period, day, account_id, key_id, model
), daily AS (
    INSERT INTO usage_daily AS daily (account_id, day, key_id, model, {", ".join(MEASURES)})
    SELECT account_id, day, key_id, model, {_sums(MEASURES)} FROM added
    GROUP BY account_id, day, key_id, model ORDER BY account_id, day, key_id, model
    ON CONFLICT (account_id, day, key_id, model) DO UPDATE SET {_added("daily")}
), periods AS (
    INSERT INTO usage_periods AS periods (account_id, period, key_id, version, {", ".join(MEASURES)})
    SELECT account_id, period, coalesce(key_id, {WHOLE_ACCOUNT}), sum(requests), {_sums(MEASURES)} FROM added
    GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period)) ORDER BY 1, 2, 3
    ON CONFLICT (account_id, period, key_id) DO UPDATE SET
        version = periods.version + EXCLUDED.version, {_added("periods")}
)
SELECT estimated, count(*) AS events, sum(waived_nano_usd)::bigint AS waived FROM recorded GROUP BY estimated
"""  # noqa: S608  # Made of constants.

TOTALS = f"""
SELECT period, account_id, key_id, charged_nano_usd + parked_nano_usd, version
FROM usage_periods JOIN (
    SELECT account_id, period, key_id FROM arrived UNION SELECT account_id, period, {WHOLE_ACCOUNT} FROM arrived
) AS touched USING (account_id, period, key_id)
"""  # noqa: S608  # Made of constants.

PARK = """
INSERT INTO usage_dead_letters (stream, entry_id, fields, reason) VALUES ($1, $2, $3::jsonb, $4)
ON CONFLICT (stream, entry_id) DO NOTHING
RETURNING dead_letter_id
"""

AT_FAULT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.DuplicateTableError,  # The month's table is there but no partition: somebody detached it.
    OverflowError,  # asyncpg itself, for a number beyond its column.
)
"""What trying again does not change: a person has to look, and the rest must go on."""


@dataclass(frozen=True, slots=True)
class PeriodTotal:
    """What the ledger holds for an account (`key_id` 0) or a key in a billing period."""

    period: date
    account_id: AccountId
    key_id: KeyId
    charged: int
    """Nano-dollars, those of parked entries included."""
    version: int
    """Grows with every change, so it orders the totals that are written to Redis."""


@dataclass(frozen=True, slots=True)
class Recorded:
    inserted: int
    parked: int
    waived: int
    """Nano-dollars of the inserted events."""
    estimated: dict[str, int]
    """Inserted events by the reason of their estimate."""
    totals: list[PeriodTotal]
    """Of every account and key in the batch, the duplicates' included."""


class Ledger:
    """Raises RefusedRows for data that can never be stored; asyncpg's own errors while Postgres is away."""

    def __init__(self, pool: asyncpg.Pool, partitions: Partitions, failpoints: Failpoints) -> None:
        self._pool = pool
        self._partitions = partitions
        self._failpoints = failpoints

    async def record(self, rows: Sequence[UsageRow], dead_letters: Sequence[DeadLetter] = ()) -> Recorded:
        """Everything in one transaction, or nothing."""
        try:
            return await self._record(rows, dead_letters)
        except PartitionMissing:
            self._partitions.forget()  # Somebody has dropped a month that we had seen.
            return await self._record(rows, dead_letters)

    async def _record(self, rows: Sequence[UsageRow], dead_letters: Sequence[DeadLetter]) -> Recorded:
        try:
            await self._partitions.ensure({row.day for row in rows})
            async with self._pool.acquire() as connection, connection.transaction():
                recorded = await _insert(connection, rows, dead_letters)
                self._failpoints.reach("after_insert_before_commit")
        except AT_FAULT as error:
            if isinstance(error, asyncpg.CheckViolationError) and not error.constraint_name:
                raise PartitionMissing(str(error)) from error
            raise RefusedRows(f"{type(error).__name__}: {error}") from error
        return recorded


async def _insert(
    connection: asyncpg.pool.PoolConnectionProxy, rows: Sequence[UsageRow], dead_letters: Sequence[DeadLetter]
) -> Recorded:
    await connection.execute(BEGIN)
    parked = 0
    for letter in dead_letters:
        parked += await connection.fetchval(PARK, *_columns(letter)) is not None
    if not rows:
        return Recorded(0, parked, 0, {}, [])
    await connection.copy_records_to_table("arrived", records=rows, columns=COLUMNS)
    counted = await connection.fetch(RECORD)
    totals = [PeriodTotal(*row) for row in await connection.fetch(TOTALS)]
    return Recorded(
        inserted=sum(row["events"] for row in counted),
        parked=parked,
        waived=sum(row["waived"] for row in counted),
        estimated={row["estimated"]: row["events"] for row in counted if row["estimated"]},
        totals=totals,
    )


def _columns(letter: DeadLetter) -> tuple[str, str, str, str]:
    """Nothing in here may be refused again: Postgres stores no NUL."""
    shard, entry_id, fields = letter.entry
    encoded = {
        _storable(name.decode(errors="replace")): base64.b64encode(value).decode() for name, value in fields.items()
    }
    return shard.usage_stream, entry_id.decode(), orjson.dumps(encoded).decode(), _storable(letter.reason)[:500]


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
