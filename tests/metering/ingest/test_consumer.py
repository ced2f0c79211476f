import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from redis.exceptions import RedisError

from core.redis.keys import CONSUMER_GROUP, shards
from core.usage.usage_event import UsageEvent
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from metering.ingest.dead_letters import Selection
from metering.metrics import EVENTS
from tests.metering.events import NOW, event, many
from tests.metering.workbench import SHARDS, Workbench, workbench


async def test_each_event_is_recorded_once_and_its_amount_moves_from_pending_to_ledger(
    database_url: str, redis_url: str
) -> None:
    events = many(300)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)

        await bench.drain()

        await bench.assert_everything_adds_up(events)


@pytest.mark.parametrize("batch_size", [1, 7, 1_000])
async def test_the_batch_size_changes_nothing(database_url: str, redis_url: str, batch_size: int) -> None:
    events = many(60)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)

        await bench.drain(bench.consumer(batch_size=batch_size))

        await bench.assert_everything_adds_up(events)


async def test_the_whole_stream_replayed_twice_changes_nothing(database_url: str, redis_url: str) -> None:
    events = many(150)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        await bench.drain()
        duplicates = EVENTS.labels("duplicate")._value.get()

        for _ in range(2):
            await bench.settle_all(reversed(events))
            await bench.drain()

        await bench.assert_everything_adds_up(events)
        assert EVENTS.labels("duplicate")._value.get() == duplicates + 300


async def test_copies_of_an_event_inside_one_batch_are_recorded_once(database_url: str, redis_url: str) -> None:
    events = many(20)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all([*events, *events, *events])

        await bench.drain()

        await bench.assert_everything_adds_up(events)


async def test_an_event_of_last_year_and_one_of_tomorrow_find_their_partitions(
    database_url: str, redis_url: str
) -> None:
    events = [event(at=NOW - timedelta(days=399)), event(at=NOW + timedelta(days=1)), event()]
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)

        await bench.drain()

        await bench.assert_everything_adds_up(events)


BAD_ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"e": b"\xff\xfe"}, "while reading the fields"),
    "empty": ({"e": b""}, "while reading the fields"),
    "a version of tomorrow": ({"e": b'{"v": 99}'}, "KeyError"),
    "no amount": ({"c": "much"}, "c or w"),
    "a negative amount": ({"c": "-5"}, "c or w"),
    "a field name that Postgres cannot store": ({"e": b"{}", "\0": b"\0"}, "KeyError"),
    "an absurd amount": ({"c": "9" * 30}, "c or w"),
}


@pytest.mark.parametrize(("fields", "reason"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
async def test_an_unreadable_entry_is_parked_and_its_neighbours_are_recorded(
    database_url: str, redis_url: str, fields: dict[str, Any], reason: str
) -> None:
    before, after = event(), event()
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(before)
        await bench.put(event(), **fields)
        await bench.settle(after)

        await bench.drain()

        await bench.assert_everything_adds_up([before, after])
        (letter,) = await bench.dead_letters.list()
        assert reason in letter.reason


POISON: dict[str, Callable[[], UsageEvent]] = {
    "a status beyond smallint": lambda: event(status=70_000),
    "a latency beyond integer": lambda: event(latency_ms=2**40),
    "a weight beyond integer": lambda: event(weights=(2**40, 0, 0, 0, 0, 0)),
    "too old": lambda: event(at=NOW - timedelta(days=500)),
    "from the future": lambda: event(at=NOW + timedelta(days=30)),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_row_that_the_ledger_cannot_take_is_parked_alone(
    database_url: str, redis_url: str, poison: Callable[[], UsageEvent]
) -> None:
    events = many(50, accounts=2)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events[:25])
        await bench.settle(poison())
        await bench.settle_all(events[25:])

        await bench.drain()

        await bench.assert_everything_adds_up(events)
        assert (await bench.dead_letters.waiting()).letters == 1


async def test_a_row_whose_amounts_contradict_the_event_is_parked_alone(database_url: str, redis_url: str) -> None:
    events = many(10, accounts=2)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        await bench.put(event(3, cost=1_000), c=1_000, w=5)

        await bench.drain()

        await bench.assert_everything_adds_up(events)
        (letter,) = await bench.dead_letters.list()
        assert "owed" in letter.reason


async def test_many_poison_rows_in_one_batch_are_all_parked(database_url: str, redis_url: str) -> None:
    events, poison = many(30), [event(status=70_000) for _ in range(30)]
    mixed = [item for pair in zip(events, poison, strict=True) for item in pair]
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(mixed)

        await bench.drain()

        assert await bench.recorded() == {str(item.event_id) for item in events}
        assert (await bench.dead_letters.waiting()).letters == 30
        assert await bench.entries_left() == 0


async def test_a_month_that_somebody_dropped_is_made_again(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer()
        await bench.settle(event())
        await bench.drain(consumer)
        await bench.pool.execute(f"DROP TABLE usage_events_{NOW:%Y_%m}")
        late = event()
        await bench.settle(late)

        await bench.drain(consumer)

        assert await bench.recorded() == {str(late.event_id)}
        assert (await bench.dead_letters.waiting()).letters == 0


async def test_an_event_of_a_month_that_somebody_detached_is_parked_until_it_is_attached_again(
    database_url: str, redis_url: str
) -> None:
    last_month = NOW.replace(day=1) - timedelta(days=1)
    late, others = event(at=last_month, cost=5), many(20)
    name, lower, upper = f"usage_events_{last_month:%Y_%m}", last_month.date().replace(day=1), NOW.date().replace(day=1)
    async with workbench(database_url, redis_url) as bench:
        await bench.partitions.ensure([last_month.date()])
        bench.partitions.forget()
        await bench.pool.execute(f"ALTER TABLE usage_events DETACH PARTITION {name}")
        await bench.settle_all([late, *others])
        await bench.drain()
        (letter,) = await bench.dead_letters.list()

        await bench.pool.execute(
            f"ALTER TABLE usage_events ATTACH PARTITION {name} FOR VALUES FROM ('{lower}') TO ('{upper}')"
        )
        await bench.dead_letters.replay(Selection(letter.dead_letter_id))
        await bench.drain()

        assert name in letter.reason
        await bench.assert_everything_adds_up([late, *others])


async def test_all_events_of_a_detached_month_are_parked_in_one_transaction(database_url: str, redis_url: str) -> None:
    last_month = NOW.replace(day=1) - timedelta(days=1)
    late, others = [event(at=last_month, cost=5) for _ in range(80)], many(20)
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer(batch_size=400)
        await bench.partitions.ensure([last_month.date()])
        bench.partitions.forget()
        await bench.pool.execute(f"ALTER TABLE usage_events DETACH PARTITION usage_events_{last_month:%Y_%m}")
        await bench.settle_all([*late, *others])

        await bench.drain(consumer)

        parked_at = await bench.pool.fetchval("SELECT count(DISTINCT parked_at) FROM usage_dead_letters")
        waiting = await bench.dead_letters.waiting()
        assert (waiting.letters, waiting.charged, parked_at) == (80, 400, 1)
        await bench.assert_everything_adds_up(others)


async def test_a_redis_whose_memory_is_full_is_emptied(database_url: str, redis_url: str) -> None:
    events = many(150)
    async with workbench(database_url, redis_url) as bench:
        await bench.streams().create_groups()
        await bench.settle_all(events)
        await bench.redis.config_set("maxmemory", 1)

        await bench.drain()

        await bench.redis.config_set("maxmemory", 0)
        await bench.assert_everything_adds_up(events)


async def test_two_consumers_on_the_same_shards_record_everything_once(database_url: str, redis_url: str) -> None:
    events = many(600, accounts=3)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        pair = [bench.consumer(name, batch_size=40) for name in ("one", "two")]

        await asyncio.gather(*map(bench.drain, pair))

        await bench.assert_everything_adds_up(events)


async def test_two_consumers_with_the_same_entries_in_opposite_order_do_not_deadlock(
    database_url: str, redis_url: str
) -> None:
    events = many(200, accounts=20)
    async with workbench(database_url, redis_url) as bench:
        for _ in range(3):
            await bench.settle_all(events)
            await bench.settle_all(reversed(events))
        crowd = [bench.consumer(str(number), batch_size=150) for number in range(4)]

        await asyncio.gather(*map(bench.drain, crowd))

        await bench.assert_everything_adds_up(events)


async def test_entries_of_a_dead_consumer_are_taken_over(database_url: str, redis_url: str) -> None:
    events = many(80)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        dead = bench.streams("dead")
        await dead.create_groups()
        assert len(await dead.read_new(100, block_ms=10)) == 80
        heir = bench.consumer("heir", claim_idle_seconds=0.0)

        await bench.drain(heir)

        await bench.assert_everything_adds_up(events)


async def test_a_consumer_that_was_slow_confirms_what_another_took_over_without_harm(
    database_url: str, redis_url: str
) -> None:
    events = many(40)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        slow = bench.consumer("slow")
        await bench.streams("slow").create_groups()
        entries = await bench.streams("slow").read_new(100, block_ms=10)
        await bench.drain(bench.consumer("heir", claim_idle_seconds=0.0))

        await slow.book(entries)

        await bench.assert_everything_adds_up(events)


async def test_nothing_is_acknowledged_while_postgres_is_away(
    database_url: str, redis_url: str, postgres_server: PostgresServer
) -> None:
    events = many(50)
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer()
        await bench.settle_all(events)
        postgres_server.stop()

        for _ in range(3):
            with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                await consumer.round()
        left = await bench.entries_left()
        postgres_server.start()
        await bench.drain(consumer)

        assert left == 50
        await bench.assert_everything_adds_up(events)


async def test_what_was_confirmed_survives_a_kill_of_postgres_even_where_commits_do_not_wait_by_default(
    database_url: str, redis_url: str, postgres_server: PostgresServer
) -> None:
    events = many(50)
    async with workbench(database_url, redis_url) as bench:
        name = await bench.pool.fetchval("SELECT current_database()")
        await bench.pool.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        await bench.pool.expire_connections()
        await bench.settle_all(events)
        await bench.drain()

        postgres_server.kill()
        postgres_server.start()
        await bench.pool.expire_connections()

        assert await bench.recorded() == {str(item.event_id) for item in events}


async def test_a_redis_that_comes_back_is_read_on(
    database_url: str, redis_url: str, valkey_server: ValkeyServer
) -> None:
    events = many(50)
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer()
        await bench.settle_all(events)
        valkey_server.kill()
        with pytest.raises((RedisError, OSError)):
            await consumer.round()
        valkey_server.start()

        await bench.drain(consumer)

        await bench.assert_everything_adds_up(events)


async def test_a_redis_that_was_emptied_gets_its_groups_again(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer()
        await bench.drain(consumer)
        await bench.redis.flushall()
        with pytest.raises(RedisError, match="NOGROUP"):
            await consumer.round()
        late = event()
        await bench.settle(late)

        await bench.drain(consumer)

        assert await bench.recorded() == {str(late.event_id)}


async def test_totals_are_set_by_version_whatever_the_order_of_confirmation(database_url: str, redis_url: str) -> None:
    first, second = event(cost=100), event(cost=200)
    async with workbench(database_url, redis_url) as bench:
        streams, consumer = bench.streams(), bench.consumer()
        await streams.create_groups()
        booked = []
        for item in (first, second):
            await bench.settle(item)
            booked.append(await consumer.record(await streams.read_new(10, block_ms=10)))

        for settled, totals in reversed(booked):
            await streams.confirm(settled, totals)

        await bench.assert_everything_adds_up([first, second])


async def test_a_hot_account_fills_a_batch_from_one_shard(database_url: str, redis_url: str) -> None:
    events = [event() for _ in range(300)]
    async with workbench(database_url, redis_url) as bench:
        consumer = bench.consumer(batch_size=100)
        await bench.settle_all(events)
        sizes: list[int] = []

        while await consumer.round():
            sizes.append(300 - sum(sizes) - await bench.entries_left())

        assert sizes[0] == 25
        assert sizes[1:3] == [100, 100]


async def test_pending_entries_belong_to_the_group_until_they_are_confirmed(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(many(20))

        await bench.drain()

        assert await _pending(bench) == 0


async def _pending(bench: Workbench) -> int:
    summaries: list[Any] = [await bench.redis.xpending(shard.usage_stream, CONSUMER_GROUP) for shard in shards(SHARDS)]
    return sum(summary["pending"] for summary in summaries)
