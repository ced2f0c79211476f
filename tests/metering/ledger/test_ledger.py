import pytest

from metering.errors import RefusedRows
from metering.ledger.entries import DeadLetter
from tests.metering.events import PERIOD, event
from tests.metering.rows import entry, rows
from tests.metering.workbench import workbench


async def test_a_batch_says_what_was_new_and_where_its_accounts_and_keys_stand(
    database_url: str, redis_url: str
) -> None:
    old, new = event(1, 10, cost=100), event(1, 11, cost=50, estimated="client_gone")
    async with workbench(database_url, redis_url) as bench:
        await bench.ledger.record(rows([old]))

        recorded = await bench.ledger.record(rows([old, new], waived=20))

        assert (recorded.inserted, recorded.waived, recorded.estimated) == (1, 20, {"client_gone": 1})
        totals = {(total.key_id, total.charged, total.version) for total in recorded.totals}
        assert totals == {(0, 130, 2), (10, 100, 1), (11, 30, 1)}
        assert {total.period for total in recorded.totals} == {PERIOD}


async def test_a_batch_of_duplicates_still_says_where_its_accounts_stand(database_url: str, redis_url: str) -> None:
    item = event(cost=100)
    async with workbench(database_url, redis_url) as bench:
        first = await bench.ledger.record(rows([item]))

        second = await bench.ledger.record(rows([item]))

        assert second.inserted == 0
        assert sorted(map(repr, second.totals)) == sorted(map(repr, first.totals))


async def test_a_refused_batch_leaves_nothing_behind_not_even_its_dead_letters(
    database_url: str, redis_url: str
) -> None:
    letter = DeadLetter(entry(event()), "unreadable")
    async with workbench(database_url, redis_url) as bench:
        with pytest.raises(RefusedRows, match="int16"):
            await bench.ledger.record(rows([event(), event(status=70_000)]), [letter])

        assert await bench.recorded() == set()
        assert (await bench.dead_letters.waiting()).letters == 0


async def test_a_dead_letter_is_parked_once(database_url: str, redis_url: str) -> None:
    letter = DeadLetter(entry(event()), "unreadable")
    async with workbench(database_url, redis_url) as bench:
        parked = [(await bench.ledger.record([], [letter])).parked for _ in range(2)]

        assert parked == [1, 0]


async def test_all_columns_arrive_as_they_were_sent(database_url: str, redis_url: str) -> None:
    item = event(model="Modell »ä\u2028\U0001f600«", weights=(0, 1, 2, 3, 4, 2**31 - 1), upstream_request_id="")
    async with workbench(database_url, redis_url) as bench:
        await bench.ledger.record(rows([item]))

        stored = await bench.pool.fetchrow("SELECT * FROM usage_events")

        assert stored is not None
        assert stored["model"] == item.model
        assert tuple(stored["weights"]) == item.weights
        assert stored["occurred_at"] == item.occurred_at
        assert (stored["day"], stored["period"]) == (item.day, item.period)
        assert (stored["input_tokens"], stored["reasoning_tokens"]) == (item.usage.input, item.usage.reasoning)
        assert stored["outcome"] == "complete"
