from datetime import timedelta

from core.principal import AccountId
from core.redis_keys import ShardKeys
from metering.dead_letters import Selection
from tests.metering.events import NOW, event
from tests.metering.workbench import SHARDS, workbench


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
        await bench.put(item, w="much")
        await bench.drain()
        (letter,) = await bench.dead_letters.list()
        await bench.pool.execute('UPDATE usage_dead_letters SET fields = fields || \'{"w": "MA=="}\'')

        await bench.dead_letters.replay(Selection(letter.dead_letter_id))
        await bench.drain()

        await bench.assert_everything_adds_up([item])
