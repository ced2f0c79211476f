"""
S5, B13, E9: exact counts were thrown away in favour of the estimate that the sweeper had recorded before.

What the ledger should hold is computed by a slow model: for each event the gateway's own ending if there was one, else
the estimate; and the sums of that, added one by one.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import asyncpg
import pytest

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import GATEWAY_LOST, Outcome, UsageEvent
from metering.ledger import ledger
from metering.ledger.aggregates import MEASURES, SUMMED
from metering.ledger.entries import UsageRow
from metering.metrics import REPLACED
from tests.metering.events import event, many, void_of
from tests.metering.rows import rows
from tests.metering.workbench import Workbench, workbench

Place = tuple[Any, ...]


def estimate_of(item: UsageEvent) -> UsageEvent:
    return replace(
        item, usage=TokenUsage(input=49), cost=7, outcome=Outcome.CUT, estimated=GATEWAY_LOST, upstream_request_id=""
    )


def expected_rows(arrived: Sequence[UsageRow]) -> dict[str, UsageRow]:
    found: dict[str, UsageRow] = {}
    for row in arrived:
        held = found.get(row.event_id)
        if held is None or (held.estimated == GATEWAY_LOST and row.estimated != GATEWAY_LOST):
            found[row.event_id] = row
    return found


def expected_sums(held: Sequence[UsageRow]) -> tuple[Counter[Place], Counter[Place]]:
    """Of the days and of the periods, by place and measure."""
    days: Counter[Place] = Counter()
    periods: Counter[Place] = Counter()
    for row in held:
        counts = {"requests": int(row.outcome != "released"), "estimated_requests": int(row.estimated != "")}
        counts |= {name: getattr(row, name) for name in SUMMED}
        for name, value in counts.items():
            days[row.account_id, row.day, row.key_id, row.model, name] += value
            periods[row.account_id, row.period, row.key_id, name] += value
            periods[row.account_id, row.period, 0, name] += value
    return +days, +periods


async def stored_sums(bench: Workbench) -> tuple[Counter[Place], Counter[Place]]:
    days: Counter[Place] = Counter()
    periods: Counter[Place] = Counter()
    for row in await bench.pool.fetch("SELECT * FROM usage_daily"):
        days.update(
            {(row["account_id"], row["day"], row["key_id"], row["model"], name): row[name] for name in MEASURES}
        )
    for row in await bench.pool.fetch("SELECT * FROM usage_periods"):
        periods.update({(row["account_id"], row["period"], row["key_id"], name): row[name] for name in MEASURES})
    return +days, +periods


async def assert_holds(bench: Workbench, arrived: Sequence[UsageRow]) -> None:
    expected = expected_rows(arrived)
    stored = await bench.pool.fetch("SELECT event_id::text, estimated, charged_nano_usd FROM usage_events")
    assert sorted(map(tuple, stored)) == sorted(
        (r.event_id, r.estimated, r.charged_nano_usd) for r in expected.values()
    )
    assert await stored_sums(bench) == expected_sums(list(expected.values()))
    assert await bench.reconciliation.aggregate_differences(date(2020, 1, 1)) == []
    replaced = await bench.pool.fetch("SELECT event_id::text, estimated, charged_nano_usd FROM usage_replaced")
    assert {row["estimated"] for row in replaced} <= {GATEWAY_LOST}
    assert {row["event_id"] for row in replaced} <= {
        key for key, row in expected.items() if row.estimated != GATEWAY_LOST
    }


def deliveries(dice: random.Random) -> list[UsageRow]:
    """Some events by their own ending, some by an estimate, most by both, and copies of any of them."""
    arrived = []
    for item in many(25, accounts=3):
        own = dice.choice([item, item, replace(item, estimated="client_gone"), void_of(item)])
        kinds = dice.choice([[own], [estimate_of(item)], [own, estimate_of(item)]])
        arrived += dice.choices(kinds, k=dice.randint(1, 3)) + kinds
    dice.shuffle(arrived)
    return rows(arrived)


def batches(dice: random.Random, arrived: Sequence[UsageRow]) -> Iterator[Sequence[UsageRow]]:
    rest = list(arrived)
    while rest:
        size = dice.choice([1, 2, 5, 40])
        yield rest[:size]
        rest = rest[size:]


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_any_split_and_any_repeats_leave_the_same_ledger(
    database_url: str, redis_url: str, seed: int
) -> None:
    dice = random.Random(seed)
    arrived = deliveries(dice)
    async with workbench(database_url, redis_url) as bench:
        for batch in batches(dice, arrived):
            await bench.ledger.record(batch)

        await assert_holds(bench, arrived)


GUARDS = {
    "estimates give way": ("REPLACE", ledger.REPLACE, "SELECT 0"),
    "estimates come last": ("RECORD", f"estimated = '{GATEWAY_LOST}', ctid", f"estimated <> '{GATEWAY_LOST}', ctid"),
    "sums follow": ("REPLACE", "-sum(", "0 * sum("),
}


@pytest.mark.parametrize(("statement", "guard", "nothing"), GUARDS.values(), ids=GUARDS)
async def test_without_one_of_its_guards_the_ledger_differs_from_the_model(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, statement: str, guard: str, nothing: str
) -> None:
    monkeypatch.setattr(ledger, statement, getattr(ledger, statement).replace(guard, nothing))
    dice = random.Random(1)
    arrived = deliveries(dice)
    async with workbench(database_url, redis_url) as bench:
        for batch in batches(dice, arrived):
            await bench.ledger.record(batch)

        with pytest.raises(AssertionError):
            await assert_holds(bench, arrived)


@pytest.mark.parametrize("seed", range(6))
async def test_consumers_at_once_leave_the_same_ledger(database_url: str, redis_url: str, seed: int) -> None:
    dice = random.Random(seed)
    arrived = deliveries(dice)
    async with workbench(database_url, redis_url) as bench:
        waiting = list(batches(dice, arrived))

        async def consume() -> None:
            while waiting:
                batch = waiting.pop()
                try:
                    await bench.ledger.record(batch)
                except asyncpg.DeadlockDetectedError:
                    waiting.append(batch)  # As the worker's loop does: the next round reads the same entries again.

        await asyncio.gather(*(consume() for _ in range(4)))

        await assert_holds(bench, arrived)


async def test_an_exact_ending_replaces_the_estimate_and_the_estimate_is_kept_aside(
    database_url: str, redis_url: str
) -> None:
    item = event(cost=600_000)
    before = REPLACED._value.get()
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(estimate_of(item))
        await bench.drain()

        await bench.settle(item)
        await bench.drain()

        await bench.assert_everything_adds_up([item])
        kept = await bench.pool.fetchrow("SELECT * FROM usage_replaced")
        assert kept is not None
        assert (kept["estimated"], kept["input_tokens"], kept["charged_nano_usd"]) == (GATEWAY_LOST, 49, 7)
        assert kept["recorded_at"] < kept["replaced_at"]
        assert REPLACED._value.get() == before + 1


async def test_an_estimate_replaces_nothing(database_url: str, redis_url: str) -> None:
    item = event(cost=600_000)
    async with workbench(database_url, redis_url) as bench:
        for each in (item, estimate_of(item), estimate_of(item)):
            await bench.settle(each)
            await bench.drain()

        await bench.assert_everything_adds_up([item])
        assert await bench.pool.fetchval("SELECT count(*) FROM usage_replaced") == 0


async def test_a_request_that_was_released_after_its_sweep_owes_nothing(database_url: str, redis_url: str) -> None:
    item = event(cost=600_000)
    void = void_of(item)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(estimate_of(item))
        await bench.drain()

        await bench.settle(void)
        await bench.drain()

        await bench.assert_everything_adds_up([void])
        assert (await bench.account(1))[f"ledger:{item.period}"] == "0"


async def test_every_change_moves_the_version_that_orders_the_totals_in_redis(
    database_url: str, redis_url: str
) -> None:
    item = event(cost=600_000)
    versions = []
    async with workbench(database_url, redis_url) as bench:
        for batch in ([estimate_of(item)], [item], [event()]):
            recorded = await bench.ledger.record(rows(batch))
            versions.append(next(total.version for total in recorded.totals if total.key_id == 0))

        assert versions == sorted(set(versions))
