"""
The monthly partitions of `usage_events`: made ahead of time, and on demand for an event of another month.

A partition is created as a table of its own and then attached: creating it in place would lock the whole ledger
against readers.
"""

from collections.abc import Iterable
from datetime import date

import asyncpg

from metering.errors import MonthDetached

__all__ = ["Partitions", "month_after", "month_of"]

LOCK = 0x4C45_4447_4552  # "LEDGER": one process creates, the others wait and find it done.
MONTHS_AHEAD = 2

ATTACHED = """
    SELECT count(*) FROM pg_inherits
    WHERE inhparent = 'usage_events'::regclass AND inhrelid = to_regclass($1)
"""


class Partitions:
    """Remembers the months it has seen, so that a batch costs no query."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: set[date] = set()

    async def ensure(self, days: Iterable[date]) -> None:
        """Afterwards there is a partition for each of these days. Raises MonthDetached."""
        for month in sorted({month_of(day) for day in days} - self._known):
            await self._create(month)
            self._known.add(month)

    async def ensure_ahead(self, today: date) -> None:
        """This month and the next two."""
        months = [month_of(today)]
        for _ in range(MONTHS_AHEAD):
            months.append(month_after(months[-1]))
        self.forget()
        await self.ensure(months)

    def forget(self) -> None:
        """Look again at the next need: somebody may have dropped a month."""
        self._known.clear()

    async def ahead(self, today: date) -> int:
        """How many months after this one have their partition, without a gap."""
        count, month = 0, month_after(month_of(today))
        while await self._pool.fetchval(ATTACHED, _name(month)):
            count, month = count + 1, month_after(month)
        return count

    async def _create(self, month: date) -> None:
        name = _name(month)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            if await connection.fetchval(ATTACHED, name):
                return
            try:
                await connection.execute(f"CREATE TABLE {name} (LIKE usage_events INCLUDING ALL)")
            except asyncpg.DuplicateTableError as error:
                raise MonthDetached(month, name) from error
            await connection.execute(
                f"ALTER TABLE usage_events ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{month}') TO ('{month_after(month)}')"
            )


def month_of(day: date) -> date:
    return day.replace(day=1)


def month_after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _name(month: date) -> str:
    return f"usage_events_{month:%Y_%m}"
