import asyncio
from datetime import date

import pytest

from metering.ledger.partitions import Partitions, month_after
from tests.harness.servers import postgres
from tests.metering.workbench import workbench

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_events'::regclass ORDER BY 1"


@pytest.mark.parametrize(
    ("month", "following"),
    [
        (date(2026, 11, 1), date(2026, 12, 1)),
        (date(2026, 12, 1), date(2027, 1, 1)),
        (date(2027, 1, 1), date(2027, 2, 1)),
    ],
)
def test_the_month_after_a_month(month: date, following: date) -> None:
    assert month_after(month) == following


async def test_this_month_and_the_next_two_are_made_ahead(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.partitions.ensure_ahead(date(2026, 11, 20))

        names = [name for (name,) in await bench.pool.fetch(PARTITIONS)]
        assert names == ["usage_events_2026_11", "usage_events_2026_12", "usage_events_2027_01"]
        assert await bench.partitions.ahead(date(2026, 11, 30)) == 2
        assert await bench.partitions.ahead(date(2027, 1, 1)) == 0


async def test_processes_that_need_the_same_month_at_once_make_it_once(database_url: str, redis_url: str) -> None:
    days = [date(2026, month, 15) for month in range(1, 5)]
    async with workbench(database_url, redis_url) as bench:
        crowd = [Partitions(bench.pool) for _ in range(6)]

        await asyncio.gather(*(partitions.ensure(days) for partitions in crowd))

        assert len(await bench.pool.fetch(PARTITIONS)) == 4


async def test_readers_are_not_locked_out_while_a_partition_is_made(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench, postgres(database_url) as reader:
        await bench.partitions.ensure([date(2026, 11, 1)])
        async with reader.transaction():
            await reader.fetch("SELECT * FROM usage_events")

            async with asyncio.timeout(5):
                await bench.partitions.ensure([date(2026, 12, 1)])


async def test_a_partition_has_the_indexes_and_the_check_of_the_ledger(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.partitions.ensure([date(2026, 11, 1)])

        indexes = await bench.pool.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 'usage_events_2026_11'")
        checks = await bench.pool.fetchval(
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'usage_events_2026_11'::regclass AND contype = 'c'"
        )
        assert (indexes, checks) == (2, 1)
