import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest

from core.principal import AccountId
from core.process.failpoints import Failpoints
from core.redis.keys import ShardKeys, shards
from core.usage.usage_event import GATEWAY_LOST
from metering.metrics import SWEEPS
from metering.repair.sweeper import Sweeper
from tests.metering.events import event, of_tomorrow
from tests.metering.workbench import SHARDS, Workbench, workbench

EXPIRED_MS = -5_000
"""A lease that ran out: the scripts compare whole seconds."""


def patient_sweeper(bench: Workbench, clock: Iterator[float]) -> Sweeper:
    """Looks at the next reading of `clock` at each shard of a round: the account of these tests has a shard alone."""
    shard = ShardKeys.of(AccountId(1), SHARDS)
    return Sweeper(bench.redis, [shard], Failpoints(), confirm_seconds=25.0, clock=lambda: next(clock))


def swept(kind: str) -> float:
    return float(SWEEPS.labels(kind)._value.get())


async def test_a_reservation_that_an_older_gateway_left_without_an_event_is_released(
    database_url: str, redis_url: str
) -> None:
    item, before = event(), swept("released")
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=500, lease_ms=EXPIRED_MS)
        await bench.redis.hdel(ShardKeys.of(item.account_id, SHARDS).reservation(item.event_id), "event")

        await bench.sweeper.round()

        scope = await bench.account(item.account_id)
        assert (scope["in_flight"], scope["reserved"]) == ("0", "0")
        assert await bench.entries_left() == 0
        assert swept("released") == before + 1


async def test_a_request_of_a_dead_gateway_is_settled_with_the_estimate_that_its_gateway_left(
    database_url: str, redis_url: str
) -> None:
    item = event(cost=700, estimated="lease_expired")
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS)

        await bench.sweeper.round()
        await bench.drain()

        await bench.assert_everything_adds_up([item])
        scope = await bench.account(item.account_id)
        assert (scope["in_flight"], scope["reserved"]) == ("0", "0")
        assert await bench.reconciliation.estimates(item.period) == {"lease_expired": 1}


async def test_a_live_lease_is_left_alone(database_url: str, redis_url: str) -> None:
    item = event()
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=500, lease_ms=60_000)

        await bench.sweeper.round()

        assert (await bench.account(item.account_id))["in_flight"] == "1"
        assert await bench.entries_left() == 0


async def test_sweepers_at_once_end_each_reservation_once(database_url: str, redis_url: str) -> None:
    items = [event(number % 3 + 1, cost=number) for number in range(60)]
    async with workbench(database_url, redis_url) as bench:
        for item in items:
            await bench.open_scopes(item)
            await bench.admit(item, cost=100, lease_ms=EXPIRED_MS)

        await asyncio.gather(*(bench.sweeper.round() for _ in range(4)))
        entries = await bench.entries_left()
        await bench.drain()

        assert entries == 60
        await bench.assert_everything_adds_up(items)
        assert [(await bench.account(number))["in_flight"] for number in (1, 2, 3)] == ["0"] * 3


async def test_a_gateway_that_renews_in_the_meantime_keeps_its_reservation(database_url: str, redis_url: str) -> None:
    item = event()
    shard = ShardKeys.of(item.account_id, SHARDS)
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=500, lease_ms=EXPIRED_MS)
        seconds, _ = await bench.redis.time()
        await bench.redis.zadd(shard.leases, {str(item.event_id): (seconds + 60) * 1000})

        ended = await bench.sweeper._sweep(shard, str(item.event_id).encode())

        assert not ended
        assert (await bench.account(item.account_id))["in_flight"] == "1"


async def test_a_settlement_that_comes_after_the_sweep_is_what_the_ledger_holds(
    database_url: str, redis_url: str
) -> None:
    """S5, B13, E9"""
    item = event(cost=7, estimated=GATEWAY_LOST)
    exact = replace(item, cost=650, estimated="")
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS)
        await bench.sweeper.round()

        await bench.settle(exact)
        await bench.drain()

        await bench.assert_everything_adds_up([exact])


async def test_a_reservation_is_ended_when_nobody_has_prolonged_it_between_two_looks(
    database_url: str, redis_url: str
) -> None:
    item = event(cost=7, estimated=GATEWAY_LOST)
    clock = iter([0.0, 24.9, 25.0])
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS)
        sweeper = patient_sweeper(bench, clock)

        entries = [await bench.entries_left() for _ in range(3) if not await sweeper.round()]

        assert entries == [0, 0, 1]


async def test_a_step_of_redis_clock_ends_no_reservation_of_a_living_gateway(database_url: str, redis_url: str) -> None:
    """S5b, B13: the step is a lease written into the past; the gateway prolongs it in the time that it has for that."""
    items = [event(cost=7, estimated=GATEWAY_LOST) for _ in range(10)]
    clock = iter([0.0, 20.0, 40.0, 60.0])
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(items[0])
        for item in items:
            await bench.admit(item, cost=100, lease_ms=-60_000)
        sweeper = patient_sweeper(bench, clock)

        await sweeper.round()
        for item in items[:5]:
            await bench.renew(item, lease_ms=30_000)
        for item in items[5:]:
            await bench.renew(item, lease_ms=EXPIRED_MS)  # The clock steps again.
        await sweeper.round()
        await sweeper.round()

        assert await bench.entries_left() == 0
        assert (await bench.account(1))["in_flight"] == "10"


async def test_a_clock_of_redis_that_was_ahead_keeps_no_reservation_of_a_dead_gateway(
    database_url: str, redis_url: str
) -> None:
    """S5b: its clock has been set back by a day. The living gateway prolongs its lease, the dead one can't."""
    dead, living = event(cost=7, estimated=GATEWAY_LOST), event(cost=9, estimated=GATEWAY_LOST)
    clock = iter([0.0, 20.0, 25.0])
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(dead)
        for item in (dead, living):
            await bench.admit(item, cost=100, lease_ms=86_400_000)
        sweeper = patient_sweeper(bench, clock)

        await sweeper.round()
        await bench.renew(living, lease_ms=30_000)
        await sweeper.round()
        await sweeper.round()

        assert await bench.entries_left() == 1
        assert (await bench.account(1))["in_flight"] == "1"
        await bench.drain()
        assert await bench.pool.fetchval("SELECT event_id FROM usage_events") == dead.event_id


async def test_an_estimate_is_booked_in_the_period_that_it_was_reserved_in(database_url: str, redis_url: str) -> None:
    item = event(cost=7, estimated=GATEWAY_LOST)
    reserved_in = replace(item, period=date(2026, 10, 15))
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(reserved_in)
        await bench.admit(reserved_in, cost=100, lease_ms=EXPIRED_MS, wire=item.encode())

        await bench.sweeper.round()
        await bench.drain()

        assert await bench.pool.fetchval("SELECT period FROM usage_events") == date(2026, 10, 15)
        assert (await bench.account(1))["ledger:2026-10-15"] == "7"


async def test_an_estimate_of_a_newer_gateway_counts_against_the_cap_until_it_can_be_read(
    database_url: str, redis_url: str
) -> None:
    """S2"""
    item = event(cost=700, estimated=GATEWAY_LOST)
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS, wire=of_tomorrow(item))

        await bench.sweeper.round()
        await bench.drain()

        assert (await bench.dead_letters.waiting()).charged == 700
        assert (await bench.account(1))[f"ledger:{item.period}"] == "700"


async def test_an_event_that_cannot_be_read_ends_as_a_dead_letter(database_url: str, redis_url: str) -> None:
    item = event()
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=500, lease_ms=EXPIRED_MS, wire=b"{half an eve")

        await bench.sweeper.round()
        await bench.drain()

        (letter,) = await bench.dead_letters.list()
        assert letter.fields["e"] == b"{half an eve"
        assert (await bench.account(item.account_id))["reserved"] == "0"


async def test_an_id_without_a_reservation_does_not_stand_in_the_way(database_url: str, redis_url: str) -> None:
    item = event()
    shard = ShardKeys.of(item.account_id, SHARDS)
    async with workbench(database_url, redis_url) as bench:
        await bench.redis.zadd(shard.leases, {str(item.event_id): 1})

        await bench.sweeper.round()

        assert await bench.redis.zcard(shard.leases) == 0


@pytest.mark.parametrize("expired", [0, 199, 200, 450])
async def test_a_round_takes_a_bounded_number_and_says_whether_there_is_more(
    database_url: str, redis_url: str, expired: int
) -> None:
    (shard, *_) = shards(SHARDS)
    async with workbench(database_url, redis_url) as bench:
        if expired:
            await bench.redis.zadd(shard.leases, {f"id-{number}": number for number in range(expired)})

        more = await bench.sweeper.round()

        assert more == (expired >= 200)
        assert await bench.redis.zcard(shard.leases) == max(0, expired - 200)


async def test_what_an_older_redis_brings_back_is_ended_only_when_it_knows_again_what_was_spent(
    database_url: str, redis_url: str
) -> None:
    """S8: the reservation is there again, but not what others have used of the cap since."""
    item = event(cost=700, estimated="lease_expired")
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS)
        account = ShardKeys.of(item.account_id, SHARDS).account(item.account_id)
        await bench.redis.hset(account, "epoch", "an earlier life")

        await bench.sweeper.round()
        ended_early = await bench.entries_left()
        await bench.open_scopes(item)
        await bench.sweeper.round()

        assert (ended_early, await bench.entries_left()) == (0, 1)
