"""
S5, E9, B13: a gateway that is frozen for longer than its lease and the sweeper's patience (a paused machine, a live
migration) finds its reservations swept. What it then settles is what the ledger holds.
"""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from metering.proof.reconciliation import Reconciliation
from tests.harness.installation import Customer
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import PATIENCE_SECONDS, until_elsewhere
from tests.system.world import World

STREAMS = 10
WORDS = 120
ROWS = "SELECT event_id::text, estimated, output_tokens FROM usage_events"


@pytest.fixture
def world(server_directory: Path) -> Iterator[World]:
    world = World(server_directory)
    yield world
    world.close()


@pytest.mark.timeout(240)
def test_the_exact_counts_of_a_gateway_that_was_frozen_replace_the_estimates(world: World) -> None:
    customer = world.installation.customer(cap=10**9)

    served = asyncio.run(streams_through_a_freeze(world, customer))
    left = world.come_to_rest(PATIENCE_SECONDS)

    rows: Any = world.ask(
        lambda services: services.pool.fetch("SELECT event_id::text, estimated, output_tokens FROM usage_events")
    )
    replaced = world.ask(lambda services: Reconciliation(services.pool).replaced(date(2026, 1, 1)))
    assert left == []
    assert {row["event_id"]: row["output_tokens"] for row in rows} == served
    assert {row["estimated"] for row in rows} == {""}
    assert {item.event_id for item in replaced} == set(served)
    assert world.differences() == []


@pytest.mark.timeout(240)
def test_what_failed_while_its_gateway_was_frozen_is_not_charged(world: World) -> None:
    """The sweeper recorded an estimate; the gateway woke, found that the upstream had refused, and had nothing left to
    release."""
    customer = world.installation.customer(cap=10**9)

    statuses = asyncio.run(failure_through_a_freeze(world, customer))
    left = world.come_to_rest(PATIENCE_SECONDS)

    rows: Any = world.ask(
        lambda services: services.pool.fetch("SELECT outcome, charged_nano_usd > 0 AS charged FROM usage_events")
    )
    replaced = world.ask(lambda services: Reconciliation(services.pool).replaced(date(2026, 1, 1)))
    assert left == []
    assert statuses == [200, 400]
    assert sorted((row["outcome"], row["charged"]) for row in rows) == [("complete", True), ("released", False)]
    assert len(replaced) == 1
    assert world.differences() == []


async def failure_through_a_freeze(world: World, customer: Customer) -> list[int]:
    """The statuses of an answer, and of a request that the upstream refuses while the gateway stands still."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http, asyncio.TaskGroup() as tasks:
        first = await ask(http, world, customer, "Hello")
        await until_elsewhere(lambda: not world.installation.held(), "settlement")
        failing = tasks.create_task(ask(http, world, customer, "[[sim first_byte_ms=1500 status=400]]"))
        await until_elsewhere(lambda: bool(world.installation.held()), "a reservation")
        with frozen(world.gateways[0]):
            await until_elsewhere(lambda: not world.installation.held(), "sweep")
    return [first, failing.result()]


async def ask(http: httpx.AsyncClient, world: World, customer: Customer, text: str) -> int:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    url = f"{world.gateways[0].openai_url}/chat/completions"
    return (await http.post(url, json=body, headers=customer.headers)).status_code


@contextmanager
def frozen(gateway: RunningGateway) -> Iterator[None]:
    pids = {gateway.process.pid, *gateway.worker_pids}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def streams_through_a_freeze(world: World, customer: Customer) -> dict[str, int]:
    """Request id → output tokens, as the clients were told; the gateway stood still in the middle of each answer."""
    begun = [asyncio.Event() for _ in range(STREAMS)]
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http, asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(stream(http, world, customer, event)) for event in begun]
        for event in begun:
            await event.wait()
        with frozen(world.gateways[0]):
            await until_elsewhere(lambda: not world.installation.held(), "sweep")
    return dict(task.result() for task in streams)


async def stream(http: httpx.AsyncClient, world: World, customer: Customer, begun: asyncio.Event) -> tuple[str, int]:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"[[sim words={WORDS} pause_ms=20]]"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    url = f"{world.gateways[0].openai_url}/chat/completions"
    last: dict[str, Any] = {}
    async with http.stream("POST", url, json=body, headers=customer.headers) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                last = json.loads(line.removeprefix("data: "))
                begun.set()
    return answer.headers["x-request-id"], last["usage"]["completion_tokens"]
