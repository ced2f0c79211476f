"""
The usage ledger: one batch is one transaction.

Events go in by COPY into a temporary table, then one statement records the new ones and adds them, and only them, to
the aggregates. A second delivery finds its event id, is not returned by the insert and so adds nothing.

An event that the gateway settled itself is worth more than the estimate that the sweeper recorded when the gateway
seemed to be dead. Where fewer events were new than arrived, such estimates give way first: they move to
`usage_replaced` and out of the sums, and the statement runs once more. So neither the order of arrival nor the cut
between batches decides what the ledger holds in the end.

A dead letter of an event that has now been recorded ends in the same transaction (`parking`). Whether any waits at all
is asked within the statement that records, so it costs nothing as long as none does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from core.process.failpoints import Failpoints
from core.usage.usage_event import GATEWAY_LOST
from metering.errors import PartitionMissing, RefusedRows
from metering.ledger.aggregates import SUMMED, WHOLE_ACCOUNT, PeriodTotal, add_to_aggregates, totals_of
from metering.ledger.entries import COLUMNS, DeadLetter, UsageRow
from metering.ledger.parking import LETTERS_WAIT, park, unpark
from metering.ledger.partitions import Partitions

__all__ = ["Ledger", "Recorded"]

STORED = ", ".join("weights::integer[]" if name == "weights" else name for name in COLUMNS)
# A commit that we confirm in Redis must survive a crash of Postgres, whatever the server's default is.
BEGIN = f"""
SET LOCAL synchronous_commit = on;
CREATE TEMPORARY TABLE IF NOT EXISTS arrived ON COMMIT DELETE ROWS AS
SELECT {", ".join("weights::text" if name == "weights" else name for name in COLUMNS)} FROM usage_events WITH NO DATA
"""  # noqa: S608  # Made of constants.

RECORD = f"""
WITH recorded AS (
    INSERT INTO usage_events ({", ".join(COLUMNS)})
    SELECT {STORED} FROM arrived ORDER BY event_id, estimated = '{GATEWAY_LOST}', ctid   -- Estimates last.
    ON CONFLICT (event_id, day) DO NOTHING   -- The day comes from the event, never from now().
    RETURNING period, day, account_id, key_id, model, outcome, estimated, {", ".join(SUMMED)}
), {add_to_aggregates("recorded")}
SELECT estimated, count(*) AS events, sum(waived_nano_usd)::bigint AS waived, ({LETTERS_WAIT}) AS letters_wait
FROM recorded GROUP BY estimated
"""  # noqa: S608  # Made of constants.

REPLACE = f"""
WITH own AS (
    SELECT event_id, day FROM arrived WHERE estimated <> '{GATEWAY_LOST}' GROUP BY event_id, day
), replaced AS (
    DELETE FROM usage_events AS event USING own
    WHERE event.event_id = own.event_id AND event.day = own.day AND event.estimated = '{GATEWAY_LOST}'
    RETURNING event.*
), moved AS (
    INSERT INTO usage_replaced ({", ".join(COLUMNS)}, recorded_at)
    SELECT {", ".join(COLUMNS)}, recorded_at FROM replaced
    ON CONFLICT (event_id, day) DO NOTHING
), {add_to_aggregates("replaced", "-")}
SELECT count(*) FROM replaced
"""  # noqa: S608  # Made of constants.

TOTALS = f"""
SELECT period, account_id, key_id, charged_nano_usd + parked_nano_usd, version
FROM usage_periods JOIN (
    SELECT account_id, period, key_id FROM arrived UNION SELECT account_id, period, {WHOLE_ACCOUNT} FROM arrived
) AS touched USING (account_id, period, key_id)
"""  # noqa: S608  # Made of constants.

AT_FAULT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,  # asyncpg itself, for a number beyond its column.
)
"""What trying again does not change: a person has to look, and the rest must go on."""


@dataclass(frozen=True, slots=True)
class Recorded:
    inserted: int
    replaced: int
    """Estimates that gave way to inserted events."""
    parked: int
    waived: int
    """Nano-dollars of the inserted events."""
    estimated: dict[str, int]
    """Inserted events by the reason of their estimate."""
    totals: list[PeriodTotal]
    """Of every account and key in the batch, those of the duplicates and of the dead letters included."""


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
        except asyncpg.DeadlockDetectedError:
            # Estimates that give way and parked amounts lock sums a second time, past the order that all others keep.
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
    parked, totals = 0, []
    if dead_letters:
        parked = await park(connection, dead_letters)
        totals = await totals_of(connection, [letter.amount[:3] for letter in dead_letters if letter.amount])
    if not rows:
        return Recorded(0, 0, parked, 0, {}, totals)
    await connection.copy_records_to_table("arrived", records=rows, columns=COLUMNS)
    counted = await connection.fetch(RECORD)
    replaced = 0
    if sum(row["events"] for row in counted) < len(rows):
        replaced = await connection.fetchval(REPLACE)
        counted += await connection.fetch(RECORD) if replaced else []
    letters_wait = not counted or counted[0]["letters_wait"]  # Where nothing was new, this was not asked.
    unparked = await unpark(connection) if letters_wait else []
    totals += [PeriodTotal(*row) for row in await connection.fetch(TOTALS)]
    totals += await totals_of(connection, unparked)
    estimated: dict[str, int] = {}
    for row in counted:
        estimated[row["estimated"]] = estimated.get(row["estimated"], 0) + row["events"]
    return Recorded(
        inserted=sum(estimated.values()),
        replaced=replaced,
        parked=parked,
        waived=sum(row["waived"] for row in counted),
        estimated={reason: events for reason, events in estimated.items() if reason},
        totals=totals,
    )
