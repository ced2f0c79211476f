"""
Usage streams → ledger, one batch at a time.

The order is the promise: commit to Postgres, then confirm in Redis. If we die between the two, the entries are
delivered again and the ledger ignores them. If Postgres is away, nothing is confirmed: the entries stay in the stream,
no more than one batch is in memory, and the next round reads the same ones again.
"""

import logging
import time
from collections.abc import Callable

from core.process.failpoints import Failpoints
from core.usage.usage_event import MalformedEvent
from metering.errors import MonthDetached, RefusedRows
from metering.ingest.stream import Settled, UsageStreams
from metering.ledger.aggregates import PeriodTotal
from metering.ledger.entries import DeadLetter, Entry, TimeBounds, UsageRow, amount_of, usage_row
from metering.ledger.ledger import Ledger, Recorded
from metering.ledger.partitions import month_of
from metering.metrics import BATCH_SECONDS, ESTIMATED, EVENTS, LAST_COMMIT, REPLACED, WAIVED, bounded_reason

__all__ = ["Consumer"]

log = logging.getLogger(__name__)

Acceptable = list[tuple[Entry, UsageRow]]


class Consumer:
    """Any number may run at once, on the same shards or on different ones."""

    def __init__(
        self,
        streams: UsageStreams,
        ledger: Ledger,
        *,
        batch_size: int,
        claim_idle_seconds: float,
        bounds: Callable[[], TimeBounds],
        failpoints: Failpoints,
        block_ms: int = 500,
    ) -> None:
        self._streams = streams
        self._ledger = ledger
        self._batch_size = batch_size
        self._busy_shards = streams.count
        self._claim_idle_seconds = claim_idle_seconds
        self._next_claim = 0.0
        self._unfinished = True  # A predecessor of the same name may have left something.
        self._bounds = bounds
        self._failpoints = failpoints
        self._block_ms = block_ms

    async def round(self) -> bool:
        """Book one batch. True when there was one. Raises what Redis or Postgres raise; nothing is lost then."""
        try:
            entries = await self._next_entries()
            started = time.monotonic()
            self._failpoints.reach("after_read")
            for start in range(0, len(entries), self._batch_size):
                await self.book(entries[start : start + self._batch_size])
        except Exception:
            self._unfinished = True  # Redis has given us entries that it will not give again as new ones.
            raise
        if entries:
            BATCH_SECONDS.observe(time.monotonic() - started)
        return bool(entries)

    async def book(self, entries: list[Entry]) -> None:
        """Record in Postgres, then confirm in Redis: never the other way round."""
        settled, totals = await self.record(entries)
        self._failpoints.reach("after_commit_before_confirm")
        await self._streams.confirm(settled, totals)
        self._failpoints.reach("after_confirm")

    async def record(self, entries: list[Entry]) -> tuple[list[Settled], list[PeriodTotal]]:
        """Commit them to Postgres, each as an event or as a dead letter, and return what is left to confirm."""
        bounds = self._bounds()
        settled: list[Settled] = []
        acceptable: Acceptable = []
        refused: list[DeadLetter] = []
        for entry in entries:
            row, objection = _read(entry, bounds)
            settled.append(Settled(entry, row or amount_of(entry)))
            if row is None or objection:
                refused.append(DeadLetter(entry, objection))
            else:
                acceptable.append((entry, row))
        return settled, await self._record_rows(acceptable, refused)

    async def _next_entries(self) -> list[Entry]:
        """Our own unfinished ones first, then those of the dead, then new ones."""
        if self._unfinished:
            await self._streams.create_groups()  # A Redis that was emptied has lost them.
            entries = await self._streams.read_pending(self._per_shard())
            if entries:
                return entries
            self._unfinished = False
        if time.monotonic() >= self._next_claim:
            entries = await self._streams.claim(self._per_shard(), idle_ms=round(self._claim_idle_seconds * 1000))
            if entries:
                return entries
            self._next_claim = time.monotonic() + self._claim_idle_seconds / 3
        entries = await self._streams.read_new(self._per_shard(), block_ms=self._block_ms)
        self._busy_shards = len({entry.shard.tag for entry in entries}) or self._streams.count
        return entries

    def _per_shard(self) -> int:
        """Redis counts per stream. Dividing by the streams that were busy last time fills a batch whether the load lies
        on one shard or on all; memory stays below batch size x shards."""
        return -(-self._batch_size // self._busy_shards)

    async def _record_rows(self, acceptable: Acceptable, dead: list[DeadLetter]) -> list[PeriodTotal]:
        """Halve a batch that Postgres refuses until the row at fault stands alone, and park that one."""
        try:
            recorded = await self._ledger.record([row for _, row in acceptable], dead)
        except MonthDetached as refusal:
            # Each row of that month would be refused: thousands, found one by one, would stop the ledger for minutes.
            others = [(entry, row) for entry, row in acceptable if month_of(row.day) != refusal.month]
            of_month = [entry for entry, row in acceptable if month_of(row.day) == refusal.month]
            return await self._record_rows(others, [*dead, *(DeadLetter(entry, str(refusal)) for entry in of_month)])
        except RefusedRows as refusal:
            if not acceptable:
                raise
            if len(acceptable) == 1:
                letter = DeadLetter(acceptable[0][0], f"Postgres refuses the row: {refusal}")
                return await self._record_rows([], [*dead, letter])
            middle = len(acceptable) // 2
            first = await self._record_rows(acceptable[:middle], dead)
            return first + await self._record_rows(acceptable[middle:], [])
        _count(recorded, len(acceptable), dead)
        return recorded.totals


def _read(entry: Entry, bounds: TimeBounds) -> tuple[UsageRow | None, str]:
    """The row, if the entry is one, and why the ledger does not take it."""
    try:
        row = usage_row(entry)
    except MalformedEvent as error:
        return None, str(error)
    return row, bounds.objection(row.day)


def _count(recorded: Recorded, rows: int, dead: list[DeadLetter]) -> None:
    LAST_COMMIT.set_to_current_time()
    EVENTS.labels("inserted").inc(recorded.inserted)
    EVENTS.labels("duplicate").inc(rows - recorded.inserted)
    EVENTS.labels("dead_letter").inc(recorded.parked)
    REPLACED.inc(recorded.replaced)
    WAIVED.inc(recorded.waived)
    for reason, events in recorded.estimated.items():
        ESTIMATED.labels(bounded_reason(reason)).inc(events)
    for letter in dead:
        log.error(
            "usage entry parked as a dead letter",
            extra={
                "stream": letter.entry.shard.usage_stream,
                "entry": letter.entry.entry_id.decode(),
                "reason": letter.reason,
            },
        )
