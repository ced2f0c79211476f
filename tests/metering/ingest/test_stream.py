from typing import Any

import orjson
import pytest

from core.principal import AccountId, KeyId
from core.redis.keys import CONSUMER_GROUP, ShardKeys, shards
from metering.ingest.stream import Settled, confirm_calls
from metering.ledger.aggregates import PeriodTotal
from metering.ledger.entries import Entry, UsageRow, usage_row
from metering.metrics import DELETED_PENDING
from tests.metering.events import PERIOD, event, many
from tests.metering.workbench import SHARDS, workbench


def deleted() -> float:
    return float(DELETED_PENDING._value.get())


async def test_groups_are_made_once_and_begin_at_the_first_entry(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(event())

        for _ in range(2):
            await bench.streams().create_groups()

        assert len(await bench.streams().read_new(10, block_ms=10)) == 1


@pytest.mark.parametrize("way", ["claim", "read_pending"])
async def test_entries_that_were_deleted_before_they_were_recorded_raise_an_alarm(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    stream = ShardKeys.of(event().account_id, SHARDS).usage_stream
    before = deleted()
    async with workbench(database_url, redis_url) as bench:
        streams = bench.streams()
        await streams.create_groups()
        await bench.settle_all(event() for _ in range(5))
        await streams.read_new(10, block_ms=10)
        await bench.redis.xtrim(stream, maxlen=2, approximate=False)

        left = await (streams.claim(10, idle_ms=0) if way == "claim" else streams.read_pending(10))

        assert len(left) == 2
        assert deleted() == before + 3
        assert "deleted before they reached the ledger" in caplog.text
        summary = await bench.redis.xpending(stream, CONSUMER_GROUP)
        assert summary["pending"] == 2


async def test_the_names_of_killed_consumers_are_forgotten_once_nothing_of_theirs_is_pending(
    database_url: str, redis_url: str
) -> None:
    """Each kill -9 of metering left a name behind in every group."""
    stream = ShardKeys.of(event().account_id, SHARDS).usage_stream
    async with workbench(database_url, redis_url) as bench:
        nothing = await bench.streams().forget_dead(silent_seconds=0)
        await bench.streams().create_groups()
        for name in ("idle", "busy"):
            await bench.settle(event())
            await bench.streams(name).read_new(1, block_ms=10)
        await bench.streams("idle").read_pending(10)
        pending: Any = await bench.redis.xpending_range(stream, CONSUMER_GROUP, "-", "+", 10, consumername="idle")
        await bench.redis.xack(stream, CONSUMER_GROUP, pending[0]["message_id"])

        living = await bench.streams().forget_dead(silent_seconds=600)
        dead = await bench.streams().forget_dead(silent_seconds=0)

        names = {item["name"] for item in await bench.redis.xinfo_consumers(stream, CONSUMER_GROUP)}
        assert (nothing, living) == (0, 0)
        assert dead >= 1
        assert names == {b"busy"}


async def test_a_consumer_leaves_its_groups_only_where_nothing_is_pending(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        streams = bench.streams("leaver")
        await streams.create_groups()
        await bench.settle(event())
        await streams.read_new(10, block_ms=10)

        await streams.leave()

        names = [
            consumer["name"]
            for shard in shards(SHARDS)
            for consumer in await bench.redis.xinfo_consumers(shard.usage_stream, CONSUMER_GROUP)
        ]
        assert names == [b"leaver"]
        assert len(await streams.read_pending(10)) == 1


async def test_confirming_twice_takes_the_amount_out_once(database_url: str, redis_url: str) -> None:
    events = many(30)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        streams = bench.streams()
        await streams.create_groups()
        settled, totals = await bench.consumer().record(await streams.read_new(100, block_ms=10))

        for _ in range(2):
            await streams.confirm(settled, totals)

        await bench.assert_everything_adds_up(events)


async def test_more_entries_than_fit_into_one_call_are_confirmed_in_several(database_url: str, redis_url: str) -> None:
    events = [event(cost=number) for number in range(450)]
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)

        await bench.drain(bench.consumer(batch_size=5_000))

        await bench.assert_everything_adds_up(events)


@pytest.mark.parametrize(
    ("accounts", "sizes"),
    [
        ([], []),
        ([1], [1]),
        ([150, 50], [200]),
        ([150, 60], [150, 60]),
        ([450], [200, 200, 50]),
        ([1, 450], [1, 200, 200, 50]),
    ],
)
def test_an_account_is_confirmed_in_one_call_where_it_fits(accounts: list[int], sizes: list[int]) -> None:
    settled = [
        Settled(Entry(ShardKeys("{s00}"), b"%d-%d" % (account, number), {}), row(account))
        for account, entries in enumerate(accounts, 1)
        for number in range(entries)
    ]
    totals = [PeriodTotal(PERIOD, AccountId(account), KeyId(0), 5, 1) for account, _ in enumerate(accounts, 1)]

    calls = list(confirm_calls(settled, totals))

    assert [call.size for call in calls] == sizes
    totals_sent: list[Any] = [call.call.arguments[2] for call in calls]
    assert sum(len(orjson.loads(part)) for part in totals_sent) == len(accounts)


def row(account: int) -> UsageRow:
    item = event(account)
    return usage_row(Entry(ShardKeys("{s00}"), b"1-0", {b"e": item.encode(), b"c": b"%d" % item.cost, b"w": b"0"}))


async def test_an_entry_without_an_account_is_only_taken_off_the_stream(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        streams = bench.streams()
        await streams.create_groups()
        await bench.put(event(), e=b"{}")
        (entry,) = await streams.read_new(10, block_ms=10)

        await streams.confirm([Settled(entry, None)], [])

        assert await bench.entries_left() == 0
        assert await bench.account(1) == {}
