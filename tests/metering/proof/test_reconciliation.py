from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome, UsageEvent
from tests.metering.events import PERIOD, event, many, served
from tests.metering.workbench import Workbench, workbench


async def record(bench: Workbench, *events: UsageEvent) -> None:
    await bench.settle_all(events)
    await bench.drain()


async def test_a_ledger_that_was_only_written_by_metering_adds_up(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await record(bench, *many(200))

        assert await bench.reconciliation.aggregate_differences(PERIOD.replace(year=2020)) == []


DAMAGE = {
    "a row of a day": ("UPDATE usage_daily SET output_tokens = output_tokens + 1", 1, '"output_tokens" : 1'),
    "a row of a period": (
        "UPDATE usage_periods SET charged_nano_usd = 0 WHERE key_id = 0",
        1,
        '"charged_nano_usd" : -',
    ),
    "a lost event": ("DELETE FROM usage_events", 3, '"requests" : 1'),
    "a lost day": ("DELETE FROM usage_daily", 1, '"requests" : -1'),
    "a lost account total": ("DELETE FROM usage_periods WHERE key_id = 0", 1, '"requests" : -1'),
}


@pytest.mark.parametrize(("statement", "count", "text"), DAMAGE.values(), ids=DAMAGE)
async def test_damage_to_the_ledger_is_found_and_named(
    database_url: str, redis_url: str, statement: str, count: int, text: str
) -> None:
    async with workbench(database_url, redis_url) as bench:
        await record(bench, event())
        await bench.pool.execute(statement)

        differences = await bench.reconciliation.aggregate_differences(PERIOD)

        assert len(differences) == count
        assert all("account 1" in item.place and text in item.explanation for item in differences)


async def test_what_the_upstreams_served_equals_the_ledger(database_url: str, redis_url: str) -> None:
    events = many(50)
    async with workbench(database_url, redis_url) as bench:
        await record(bench, *events)

        calls = [served(item) for item in events]

        assert await bench.reconciliation.upstream_differences(calls) == []
        assert await bench.reconciliation.events_without_upstream(calls, PERIOD.replace(year=2020)) == []


async def test_a_served_request_without_an_event_is_a_difference(database_url: str, redis_url: str) -> None:
    missing = event()
    async with workbench(database_url, redis_url) as bench:
        (difference,) = await bench.reconciliation.upstream_differences([served(missing)])

    assert difference.invariant == "I1"
    assert str(missing.event_id) in difference.place


@pytest.mark.parametrize(
    ("other", "count"),
    [
        ({"outcome": "cut", "delivered_chunks": 0}, 0),
        ({"outcome": "error", "delivered_chunks": 1}, 0),
        ({"outcome": "cut", "delivered_chunks": 2}, 1),
        ({"outcome": "client_gone", "delivered_chunks": 1}, 1),
    ],
)
async def test_a_call_that_broke_off_owes_an_event_only_if_something_was_delivered(
    database_url: str, redis_url: str, other: dict[str, Any], count: int
) -> None:
    async with workbench(database_url, redis_url) as bench:
        differences = await bench.reconciliation.upstream_differences([served(event(), **other)])

    assert len(differences) == count


async def test_tokens_that_differ_are_a_difference_that_shows_both_sides(database_url: str, redis_url: str) -> None:
    item = event(usage=TokenUsage(input=100, output=30))
    async with workbench(database_url, redis_url) as bench:
        await record(bench, item)

        (difference,) = await bench.reconciliation.upstream_differences([served(item, output_tokens=31)])

    assert difference.invariant == "I2"
    assert "{'output_tokens': 31}" in difference.explanation
    assert "{'output_tokens': 30}" in difference.explanation


async def test_a_request_that_was_tried_again_is_compared_with_the_call_that_answered(
    database_url: str, redis_url: str
) -> None:
    item = event(attempt=2)
    calls = [served(item, outcome="cut", output_tokens=1), served(item)]
    async with workbench(database_url, redis_url) as bench:
        await record(bench, item)

        assert await bench.reconciliation.upstream_differences(calls) == []


async def test_estimates_are_listed_by_reason_and_not_compared(database_url: str, redis_url: str) -> None:
    item = event(estimated="client_gone")
    async with workbench(database_url, redis_url) as bench:
        await record(bench, item)

        assert await bench.reconciliation.upstream_differences([served(item, output_tokens=99)]) == []
        assert await bench.reconciliation.estimates(PERIOD) == {"client_gone": 1}


async def test_an_event_that_no_upstream_has_served_is_a_difference(database_url: str, redis_url: str) -> None:
    before, first, invented, last, after = sorted((event() for _ in range(5)), key=lambda item: item.event_id)
    released = replace(invented, event_id=UUID(int=invented.event_id.int + 1), cost=0, outcome=Outcome.RELEASED)
    async with workbench(database_url, redis_url) as bench:
        await record(bench, before, first, invented, released, last, after)

        (difference,) = await bench.reconciliation.events_without_upstream([served(first), served(last)], PERIOD)

    assert str(invented.event_id) in difference.place


async def test_an_event_that_stands_in_two_partitions_is_found(database_url: str, redis_url: str) -> None:
    item = event()
    async with workbench(database_url, redis_url) as bench:
        await record(bench, item)
        await bench.pool.execute(
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM usage_events; UPDATE copy SET day = day - 1;"
            "INSERT INTO usage_events SELECT * FROM copy"
        )

        differences = await bench.reconciliation.upstream_differences([served(item)])

    assert [difference.explanation for difference in differences] == ["is in the ledger 2 times"]


@pytest.mark.parametrize("name", [None, "", "not an id"])
async def test_a_call_without_an_event_id_is_a_difference(database_url: str, redis_url: str, name: str | None) -> None:
    async with workbench(database_url, redis_url) as bench:
        (difference,) = await bench.reconciliation.upstream_differences([served(event(), client_request_id=name)])

    assert "no event id" in difference.explanation
