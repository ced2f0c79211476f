"""
S2: parked usage switched the spending cap off.

A real gateway and a real metering process; the month's partition is detached, so every event is parked.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.services import Services
from metering.ingest.dead_letters import DeadLetters, Selection
from metering.ledger.partitions import month_after
from metering.proof.reconciliation import Reconciliation
from metering.repair.counters import Counters
from tests.harness.installation import SHARDS, Customer
from tests.harness.waiting import eventually
from tests.system.world import World

CAP_NANO_USD = 200_000
MAX_REQUESTS = 400
REQUESTS_BETWEEN_LOOKS = 5


@pytest.fixture
def world(server_directory: Path) -> Iterator[World]:
    world = World(server_directory)
    yield world
    world.close()


@pytest.mark.timeout(240)
def test_the_cap_holds_while_every_event_is_parked_and_after_they_are_replayed(world: World) -> None:
    customer = world.installation.customer(cap=CAP_NANO_USD)
    month = datetime.now(UTC).date().replace(day=1)
    partition = f"usage_events_{month:%Y_%m}"
    eventually(
        lambda: scalar(world, f"SELECT to_regclass('{partition}') IS NOT NULL") is True, "partition of this month"
    )
    world.ask(lambda services: services.pool.execute(f"ALTER TABLE usage_events DETACH PARTITION {partition}"))

    answered = ask_until_refused(world, customer)
    events = scalar(world, "SELECT count(DISTINCT event_id) FROM usage_dead_letters")
    parked = world.ask(lambda services: DeadLetters(services.pool, services.redis).waiting())
    world.ask(lambda services: counters(services).rebuild())
    after_rebuild = status_of_a_request(world, customer)
    world.ask(
        lambda services: services.pool.execute(
            f"ALTER TABLE usage_events ATTACH PARTITION {partition}"
            f" FOR VALUES FROM ('{month}') TO ('{month_after(month)}')"
        )
    )
    replayed = world.ask(lambda services: DeadLetters(services.pool, services.redis).replay(Selection()))
    left = world.come_to_rest(20.0)

    assert (after_rebuild, status_of_a_request(world, customer), left) == (402, 402, [])
    # A gateway that loses sight of Redis for a moment sends its last settlements twice: two letters, one event.
    assert answered == events > 1
    assert parked.letters == replayed >= answered
    assert (
        parked.charged == scalar(world, "SELECT charged_nano_usd FROM usage_periods WHERE key_id = 0") <= CAP_NANO_USD
    )
    assert scalar(world, "SELECT sum(waived_nano_usd)::bigint FROM usage_events") == 0
    assert world.ask(lambda services: Reconciliation(services.pool).aggregate_differences(month)) == []
    assert world.ask(lambda services: counters(services).check()) == []


def ask_until_refused(world: World, customer: Customer) -> int:
    """How many were answered before the cap refused one. What was parked has left the stream now and then."""
    for number in range(MAX_REQUESTS):
        if number % REQUESTS_BETWEEN_LOOKS == 0:
            assert world.come_to_rest(10.0) == []
        if (status := status_of_a_request(world, customer)) == 402:
            assert world.come_to_rest(10.0) == []
            return number
        assert status == 200
    raise AssertionError(f"{MAX_REQUESTS} requests were answered on a cap of {CAP_NANO_USD} nano-dollars")


def status_of_a_request(world: World, customer: Customer) -> int:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say it."}], "max_tokens": 40}
    return httpx.post(
        f"{world.gateways[0].openai_url}/chat/completions", json=body, headers=customer.headers, timeout=10
    ).status_code


def scalar(world: World, query: str) -> Any:
    return world.ask(lambda services: services.pool.fetchval(query))


def counters(services: Services) -> Counters:
    return Counters(services.pool, services.redis, shard_count=SHARDS, now=lambda: datetime.now(UTC))
