import asyncio
from dataclasses import replace

import pytest

from core.redis_keys import ShardKeys, shards
from metering.metrics import SWEEPS
from tests.metering.events import event
from tests.metering.workbench import SHARDS, workbench

EXPIRED_MS = -5_000
"""A lease that ran out: the scripts compare whole seconds."""


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


async def test_a_settlement_that_comes_after_the_sweep_changes_nothing_in_the_ledger(
    database_url: str, redis_url: str
) -> None:
    item = event(cost=700, estimated="lease_expired")
    async with workbench(database_url, redis_url) as bench:
        await bench.open_scopes(item)
        await bench.admit(item, cost=1_000, lease_ms=EXPIRED_MS)
        await bench.sweeper.round()

        await bench.settle(replace(item, cost=650, estimated=""))
        await bench.drain()

        await bench.assert_everything_adds_up([item])


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
