import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from core.principal import AccountId
from core.redis.keys import ShardKeys
from core.usage.usage_event import GATEWAY_LOST, UsageEvent
from metering.errors import RedisNotSynced
from metering.ingest.dead_letters import Selection, Waiting
from metering.ledger import parking
from tests.harness.waiting import until
from tests.metering.events import NOW, event, of_tomorrow
from tests.metering.workbench import SHARDS, Workbench, workbench


async def test_a_letter_shows_the_entry_as_it_was_and_why_it_was_parked(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"\x00\xff{", c="1")
        await bench.drain()

        (letter,) = await bench.dead_letters.list()

        assert await bench.dead_letters.show(letter.dead_letter_id) == letter
        assert letter.fields == {"e": b"\x00\xff{", "c": b"1", "w": b"0"}
        assert letter.stream == ShardKeys.of(AccountId(1), SHARDS).usage_stream
        assert letter.reason
        assert letter.replayed_at is None


async def test_a_replayed_letter_is_recorded_once_the_reason_is_gone(database_url: str, redis_url: str) -> None:
    early = event(at=NOW + timedelta(days=3), cost=500)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(early)
        await bench.drain()
        (letter,) = await bench.dead_letters.list()
        consumer = bench.consumer(future_days=5)

        replayed = await bench.dead_letters.replay(Selection(letter.dead_letter_id))
        await bench.drain(consumer)

        assert replayed
        await bench.assert_everything_adds_up([early])
        assert (await bench.dead_letters.waiting()).letters == 0
        assert [item.replayed_at is not None for item in await bench.dead_letters.list(ended=True)] == [True]


async def test_a_letter_is_replayed_once(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"{}")
        await bench.drain()
        (letter,) = await bench.dead_letters.list()

        answers = [await bench.dead_letters.replay(Selection(letter.dead_letter_id)) for _ in range(2)]

        assert answers == [1, 0]
        assert await bench.entries_left() == 1
        assert not await bench.dead_letters.replay(Selection(12345))


async def test_a_letter_whose_reason_stays_is_parked_again(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"{}")
        await bench.drain()
        (letter,) = await bench.dead_letters.list()

        await bench.dead_letters.replay(Selection(letter.dead_letter_id))
        await bench.drain()

        (again,) = await bench.dead_letters.list()
        assert again.fields == letter.fields
        assert again.dead_letter_id != letter.dead_letter_id


async def test_a_letter_whose_event_is_in_the_ledger_already_adds_nothing(database_url: str, redis_url: str) -> None:
    item = event(cost=500)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        await bench.put(item, w="much")
        await bench.drain()
        (letter,) = await bench.dead_letters.list()
        await bench.pool.execute('UPDATE usage_dead_letters SET fields = fields || \'{"w": "MA=="}\'')

        await bench.dead_letters.replay(Selection(letter.dead_letter_id))
        await bench.drain()

        await bench.assert_everything_adds_up([item])


PARKED: dict[str, Callable[[UsageEvent], dict[str, Any]]] = {
    "a version of tomorrow": lambda item: {"e": of_tomorrow(item)},
    "amounts that contradict the event": lambda item: {"w": 5},
    "a target that is too long": lambda item: {"e": orjson.dumps({**orjson.loads(item.encode()), "target": "t" * 513})},
    "a clock that is days off": lambda item: {"e": replace(item, occurred_at=NOW + timedelta(days=30)).encode()},
    "a status beyond smallint": lambda item: {"e": replace(item, status=70_000).encode()},
}


@pytest.mark.parametrize("fields", PARKED.values(), ids=PARKED)
async def test_a_parked_amount_counts_until_it_is_written_off(
    database_url: str, redis_url: str, fields: Callable[[UsageEvent], dict[str, Any]]
) -> None:
    """S2: it left `pending` while the ledger did not grow, so the caps saw nothing of it."""
    async with workbench(database_url, redis_url) as bench:
        account, [key] = await bench.create_account()
        item = event(account, key, cost=700)
        await bench.open_scopes(item)
        await bench.put(item, **fields(item))
        await bench.drain()

        spent = [await spent_of(bench, item)]
        spent += [await spent_of(bench, item) for _ in [await bench.counters.rebuild()]]
        differences = await bench.counters.check()
        written_off = await bench.dead_letters.write_off(Selection(), by="me", reason="a test")
        spent.append(await spent_of(bench, item))

        assert (spent, differences, written_off) == ([(700, 700), (700, 700), (0, 0)], [], 1)
        assert await bench.counters.check() == []
        assert await bench.reconciliation.aggregate_differences(item.period) == []
        (letter,) = await bench.dead_letters.list(ended=True)
        assert (letter.written_off_by, letter.written_off_reason) == ("me", "a test")


async def test_a_parked_amount_counts_at_each_step_of_its_replay(database_url: str, redis_url: str) -> None:
    """S2"""
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()

        await bench.dead_letters.replay(Selection())
        on_the_stream = await spent_of(bench, item)
        await bench.drain(bench.consumer(future_days=5))

        assert (on_the_stream, await spent_of(bench, item)) == ((1_400, 1_400), (700, 700))
        await bench.assert_everything_adds_up([item])


async def test_a_letter_without_an_event_id_ends_with_its_replay(database_url: str, redis_url: str) -> None:
    item = event(cost=700)
    nameless = orjson.dumps({**orjson.loads(item.encode()), "id": "none"})
    async with workbench(database_url, redis_url) as bench:
        await bench.put(item, e=nameless)
        await bench.drain()

        await bench.dead_letters.replay(Selection())

        assert await bench.dead_letters.list() == []
        assert await spent_of(bench, item) == (700, 700)


async def test_a_replay_that_redis_forgets_is_repeated_and_recorded_once(database_url: str, redis_url: str) -> None:
    """M7: the letter was marked, and its entry gone with Redis' last writes: in the ledger for ever nothing."""
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        await bench.dead_letters.replay(Selection())
        await bench.redis.flushall()

        (lost,) = await bench.dead_letters.list()
        replayed = await bench.dead_letters.replay(Selection())
        await bench.drain(bench.consumer(future_days=5))

        assert (lost.on_stream_since is not None, lost.ended, replayed) == (True, False, 1)
        assert (await bench.dead_letters.waiting()).letters == 0
        assert await bench.recorded() == {str(item.event_id)}
        assert await bench.reconciliation.aggregate_differences(item.period.replace(year=2020)) == []


async def test_what_is_on_its_stream_is_not_put_there_again(database_url: str, redis_url: str) -> None:
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()

        replayed = [await bench.dead_letters.replay(Selection()) for _ in range(3)]

        assert (replayed, await bench.entries_left()) == ([1, 1, 1], 1)
        assert await spent_of(bench, item) == (1_400, 1_400)
        assert (await bench.dead_letters.waiting()).on_stream == 1


async def test_a_letter_that_comes_back_from_its_replay_is_the_same_letter(database_url: str, redis_url: str) -> None:
    """A second one beside it would count twice, and after the next replay four times."""
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        (letter,) = await bench.dead_letters.list()

        for _ in range(3):
            await bench.dead_letters.replay(Selection())
            await bench.drain()

        assert await bench.dead_letters.list() == [letter]
        assert await spent_of(bench, item) == (700, 700)
        assert await bench.counters.check() == []


async def test_what_is_on_its_stream_is_not_written_off(database_url: str, redis_url: str) -> None:
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        await bench.dead_letters.replay(Selection())

        written_off = await bench.dead_letters.write_off(Selection(), by="me", reason="a test")

        assert (written_off, (await bench.dead_letters.waiting()).letters) == (0, 1)


async def test_a_letter_ends_though_its_replay_is_being_committed_when_the_event_is_recorded(
    database_url: str, redis_url: str
) -> None:
    """M7: the entry is on the stream before the letter says so."""
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        async with bench.pool.acquire() as replaying:
            async with replaying.transaction():
                await replaying.execute("SELECT FROM usage_dead_letters FOR UPDATE")
                await bench.settle(item)
                recording = asyncio.ensure_future(bench.drain(bench.consumer(future_days=5)))
                await until_somebody_waits_for_a_lock(bench)
                await replaying.execute("UPDATE usage_dead_letters SET on_stream_as = '1-1', on_stream_since = now()")
            await recording

        assert (await bench.dead_letters.waiting()).letters == 0
        await bench.assert_everything_adds_up([item])


async def test_a_letter_that_another_consumer_has_recorded_ends_in_that_transaction(
    database_url: str, redis_url: str
) -> None:
    """M11: one consumer parked the entry, another, which had slept with the same one, recorded it."""
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.streams().create_groups()
        entries = await bench.streams().read_new(10, block_ms=10)

        await bench.consumer("one").book(entries)
        parked = await spent_of(bench, item)
        await bench.consumer("two", future_days=5).book(entries)

        assert parked == await spent_of(bench, item) == (700, 700)
        assert (await bench.dead_letters.waiting()).letters == 0
        await bench.assert_everything_adds_up([item])


async def test_every_letter_of_an_event_ends_when_the_event_is_found_recorded(
    database_url: str, redis_url: str
) -> None:
    """M11"""
    item = event(cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        await bench.put(item, w="much")
        await bench.put(item, w="more")
        await bench.drain()
        parked = await spent_of(bench, item)

        await bench.settle(item)
        await bench.drain()

        assert (parked, await spent_of(bench, item)) == ((2_100, 2_100), (700, 700))
        await bench.assert_everything_adds_up([item])


async def test_an_own_ending_that_waits_stays_beside_an_estimate(database_url: str, redis_url: str) -> None:
    """M11: it is worth more than what was recorded."""
    own = event(cost=700)
    estimate = replace(own, estimated=GATEWAY_LOST, cost=7)
    async with workbench(database_url, redis_url) as bench:
        await bench.put(own, w="much")
        await bench.put(estimate, w="much")
        await bench.drain()

        await bench.settle(estimate)
        await bench.drain()
        beside_the_estimate = [letter.charged for letter in await bench.dead_letters.list()]
        await bench.settle(own)
        await bench.drain()

        assert beside_the_estimate == [700]
        assert (await bench.dead_letters.waiting()).letters == 0
        await bench.assert_everything_adds_up([own])


async def test_letters_cost_the_ledger_no_statement_while_none_waits(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "UNPARK", "SELECT FROM asked_though_no_letter_waits")
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"{}")
        await bench.settle_all([event(), event()])
        await bench.drain()
        await bench.put(event(), w="much")
        await bench.drain()

        await bench.settle(event())
        with pytest.raises(asyncpg.UndefinedTableError):
            await bench.drain()


async def test_a_letter_whose_entry_came_twice_is_recorded_once(database_url: str, redis_url: str) -> None:
    item = event(at=NOW + timedelta(days=3), cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        await bench.drain()
        await bench.settle(item)  # As the first half of a replay leaves it.
        await bench.dead_letters.replay(Selection())

        await bench.drain(bench.consumer(future_days=5))

        assert (await bench.dead_letters.waiting()).letters == 0
        await bench.assert_everything_adds_up([item])


async def test_a_letter_without_an_event_id_waits_until_redis_has_its_entry_on_the_disk(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S4, for dead letters: what Redis confirms and loses must not be marked as replayed."""
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"{}")
        await bench.drain()
        await bench.redis.config_set("appendfsync", "no")  # It never says that something is on the disk.
        try:
            with monkeypatch.context() as patch:
                patch.setattr("metering.ingest.dead_letters.SYNC_MS", 100)
                with pytest.raises(RedisNotSynced):
                    await bench.dead_letters.replay(Selection())
        finally:
            await bench.redis.config_set("appendfsync", "everysec")
        waiting = (await bench.dead_letters.waiting()).letters

        assert (waiting, await bench.dead_letters.replay(Selection())) == (1, 1)


async def test_thousands_of_letters_are_replayed_in_one_go(database_url: str, redis_url: str) -> None:
    """S22: one call for each took 0.3 s."""
    items = [event(number % 7 + 1, at=NOW + timedelta(days=3), cost=number) for number in range(1_300)]
    heard: list[int] = []
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(items)
        await bench.drain(bench.consumer(batch_size=500))

        replayed = await bench.dead_letters.replay(Selection(), progress=heard.append)
        await bench.drain(bench.consumer(batch_size=500, future_days=5))

        assert (replayed, heard) == (1_300, [500, 1_000, 1_300])
        await bench.assert_everything_adds_up(items)


async def test_letters_that_come_back_are_left_for_the_next_time(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        for number in range(3):
            await bench.put(event(number + 1), e=of_tomorrow(event(number + 1)))
        await bench.drain()

        replayed = await bench.dead_letters.replay(Selection())
        await bench.drain()

        assert (replayed, (await bench.dead_letters.waiting()).letters) == (3, 3)


async def test_only_letters_of_one_reason_are_chosen(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), c="much")
        await bench.put(event(), e=of_tomorrow(event()))
        await bench.drain()

        written_off = await bench.dead_letters.write_off(Selection(reason="c or w"), by="me", reason="a test")

        (left,) = await bench.dead_letters.list()
        assert (written_off, "KeyError" in left.reason) == (1, True)


async def test_what_names_no_account_is_known_as_such(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.put(event(), e=b"{}")
        await bench.put(event(cost=3), e=of_tomorrow(event()))
        await bench.drain()

        assert await bench.dead_letters.waiting() == Waiting(letters=2, charged=3, nameless=1, on_stream=0)


async def test_an_entry_is_parked_once_whatever_is_delivered_again(database_url: str, redis_url: str) -> None:
    item = event(cost=700)
    async with workbench(database_url, redis_url) as bench:
        await bench.put(item, e=of_tomorrow(item))
        await bench.streams().create_groups()
        entries = await bench.streams().read_new(10, block_ms=10)
        consumer = bench.consumer()

        for _ in range(3):
            await consumer.book(entries)

        assert await spent_of(bench, item) == (700, 700)
        assert (await bench.dead_letters.waiting()).charged == 700


async def spent_of(bench: Workbench, item: UsageEvent) -> tuple[int, int]:
    """What the account's and the key's caps see."""
    keys = bench._keys(item)
    account, key = await bench.scope(keys.account), await bench.scope(keys.key)
    names = f"ledger:{item.period}", f"pending:{item.period}"
    return sum(int(account.get(name, 0)) for name in names), sum(int(key.get(name, 0)) for name in names)


async def until_somebody_waits_for_a_lock(bench: Workbench) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await until(lambda: bench.pool.fetchval(waiting), "somebody who waits for a lock")
