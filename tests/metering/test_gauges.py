from datetime import UTC, datetime, timedelta

from core.redis.keys import shards
from metering import metrics
from metering.gauges import Gauges
from tests.metering.events import event, of_tomorrow
from tests.metering.workbench import SHARDS, workbench


async def test_the_gauges_show_what_waits_and_for_how_long(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        streams = bench.streams()
        await streams.create_groups()
        await bench.put(event(), e=b"{}")
        await bench.put(event(cost=1_000), e=of_tomorrow(event()))
        await bench.drain()
        await bench.settle_all(event(account) for account in range(1, 6))
        await streams.read_new(1, block_ms=10)
        await bench.partitions.ensure_ahead(datetime.now(UTC).date())
        later = datetime.now(UTC) + timedelta(minutes=10)
        gauges = Gauges(bench.redis, shards(SHARDS), bench.dead_letters, bench.partitions, lambda: later)

        await gauges.round()

        assert metrics.STREAM_LENGTH._value.get() == 5
        assert 1 <= metrics.STREAM_PENDING._value.get() <= 4
        assert 600 <= metrics.OLDEST_ENTRY_SECONDS._value.get() < 620
        assert metrics.DEAD_LETTERS._value.get() == 2
        assert metrics.DEAD_LETTERS_CHARGED._value.get() == 1_000
        assert metrics.NAMELESS_DEAD_LETTERS._value.get() == 1
        assert metrics.PARTITIONS_AHEAD._value.get() >= 1


async def test_streams_that_do_not_exist_yet_hold_nothing(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        now = datetime.now(UTC)
        gauges = Gauges(bench.redis, shards(SHARDS), bench.dead_letters, bench.partitions, lambda: now)

        await gauges.round()

        assert metrics.STREAM_LENGTH._value.get() == 0
        assert metrics.OLDEST_ENTRY_SECONDS._value.get() == 0
