"""The end of a gateway process, wanted or not: streams under way finish or are paid up to there, nothing is lost."""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import httpx
import pytest
import redis.asyncio

from core.process.failpoints import Failpoints
from core.redis.keys import shards
from core.usage.usage_event import Outcome, UsageEvent
from metering.repair.sweeper import Sweeper
from tests.gateway.served import booked_once, record_of
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import SHARDS, Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere

DONE = b"data: [DONE]"
MODELS = ["gpt-4o-mini", "claude-haiku-4-5"]


async def stream_to_the_end(gateway: RunningGateway, customer: Customer, model: str, words: int) -> bytes:
    """What the client received; the connection may break."""
    async with wire(gateway.port) as client:
        await client.send(chat(customer, f"[[sim words={words} pause_ms=20]]", model=model, stream=True))
        await client.head()
        await client.read_past(CONTENT)
        with contextlib.suppress(EOFError, ConnectionError):
            await client.read_past(DONE)
        return client.received


async def exit_status(gateway: RunningGateway, *, seconds: float = 10.0) -> int:
    return await asyncio.to_thread(gateway.process.wait, seconds)


@pytest.mark.parametrize("workers", [1, 2])
async def test_streams_under_way_finish_before_the_process_ends(
    shared: Installation, upstream: SimulatedUpstream, customer: Customer, workers: int
) -> None:
    gateway = shared.start_gateway(workers=workers)
    streams = [
        asyncio.create_task(stream_to_the_end(gateway, customer, MODELS[number % 2], 40)) for number in range(20)
    ]
    await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 20, "20 open streams")

    gateway.signal(signal.SIGTERM)
    bodies = await asyncio.gather(*streams)
    status = await exit_status(gateway)

    assert status == 0
    assert [body.count(CONTENT) >= 40 and DONE in body for body in bodies] == [True] * 20
    booked_once(shared, upstream, customer, 20)
    shared.assert_nothing_held()


async def test_while_draining_readiness_is_red_and_requests_are_still_served(
    shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    gateway = shared.start_gateway({"GATEWAY_SHUTDOWN_DELAY_SECONDS": "1"})

    gateway.signal(signal.SIGTERM)
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")
    draining = gateway.ready()["checks"]["draining"]
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "Hello"))
        head, _ = await client.answer()
    status = await exit_status(gateway)

    assert (draining, head.status, status) == (True, 200, 0)
    with pytest.raises(ConnectionRefusedError):
        async with wire(gateway.port):
            pass
    booked_once(shared, upstream, customer)


async def test_streams_longer_than_the_patience_are_cut_and_paid_up_to_there(
    shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    gateway = shared.start_gateway({"GATEWAY_SHUTDOWN_SECONDS": "1"})
    streams = [
        asyncio.create_task(stream_to_the_end(gateway, customer, MODELS[number % 2], 1000)) for number in range(10)
    ]
    await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 10, "10 open streams")

    gateway.signal(signal.SIGTERM)
    began = time.monotonic()
    bodies = await asyncio.gather(*streams)
    status = await exit_status(gateway)

    assert status == 0
    assert time.monotonic() - began < 5
    assert [DONE in body for body in bodies] == [False] * 10
    events = shared.wait_events(customer, 10)
    assert {(booked.event.outcome, booked.event.estimated) for booked in events} == {(Outcome.CUT, "cut")}
    assert all(booked.event.usage.output <= record_of(upstream, booked)["output_tokens"] * 2 + 2 for booked in events)
    shared.assert_nothing_held()


async def test_requests_that_wait_for_an_upstream_are_cut_and_pay_their_input(
    shared: Installation, customer: Customer
) -> None:
    gateway = shared.start_gateway({"GATEWAY_SHUTDOWN_SECONDS": "1"})
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim first_byte_ms=20000]]"))
        await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 1, "open request")

        gateway.signal(signal.SIGTERM)
        head, body = await client.answer()
        status = await exit_status(gateway)

    assert status == 0
    assert (head.status, body["error"]["code"], head.headers["retry-after"]) == (503, "overloaded", "1")
    [booked] = shared.wait_events(customer, 1)
    assert booked.event.usage.input > 0
    assert booked.event.usage.completion == 0
    shared.assert_nothing_held()


async def test_a_second_signal_ends_the_process_at_once_and_books_all_the_same(
    shared: Installation, customer: Customer
) -> None:
    gateway = shared.start_gateway()
    stream = asyncio.create_task(stream_to_the_end(gateway, customer, "gpt-4o-mini", 1000))
    await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 1, "open stream")

    gateway.signal(signal.SIGTERM)
    await until_elsewhere(lambda: bool(gateway.log_lines(message="draining")), "draining")
    gateway.signal(signal.SIGTERM)
    await stream
    status = await exit_status(gateway, seconds=5)

    assert status == 0
    [booked] = shared.wait_events(customer, 1)
    assert booked.event.outcome == Outcome.CUT
    shared.assert_nothing_held()


async def test_what_a_killed_gateway_had_under_way_is_booked_by_the_sweeper(
    shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    """kill -9: answers under way are estimated by what was delivered at the last renewal of their lease."""
    gateway = shared.start_gateway({"GATEWAY_LEASE_SECONDS": "3"})
    streams = [
        asyncio.create_task(stream_to_the_end(gateway, customer, MODELS[number % 2], 1000)) for number in range(10)
    ]
    await until_elsewhere(lambda: renewed(shared) == 10, "10 renewed leases")

    gateway.kill()
    await asyncio.gather(*streams)
    before = len(shared.events(customer))
    await sweep_until_nothing_is_held(shared)

    assert before == 0
    events = shared.wait_events(customer, 10)
    assert {(booked.event.outcome, booked.event.estimated) for booked in events} == {(Outcome.CUT, "gateway_lost")}
    assert all(booked.event.usage.output >= 1 for booked in events)
    assert all(booked.event.usage.output <= record_of(upstream, booked)["output_tokens"] * 2 + 2 for booked in events)
    shared.assert_nothing_held()


async def test_with_drain_the_upstream_is_read_to_its_usage(
    shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    """Product decision 7: the client has gone, the exact counts come all the same."""
    gateway = shared.start_gateway({"GATEWAY_ON_DISCONNECT": "drain"})
    for model in MODELS:
        async with wire(gateway.port) as client:
            await client.send(chat(customer, "[[sim words=30 pause_ms=5]]", model=model, stream=True))
            await client.read_past(CONTENT, 2)
            await client.leave()

    events = booked_once(shared, upstream, customer, 2)
    assert {(booked.event.outcome, booked.event.usage.output) for booked in events} == {(Outcome.CLIENT_GONE, 30)}
    shared.assert_nothing_held()
    assert gateway.stop() == 0


async def test_a_drain_is_bounded_in_time(shared: Installation, customer: Customer) -> None:
    gateway = shared.start_gateway({"GATEWAY_ON_DISCONNECT": "drain", "GATEWAY_DRAIN_SECONDS": "0.5"})
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=1000 pause_ms=20]]", stream=True))
        await client.read_past(CONTENT, 2)
        await client.leave()
        left = time.monotonic()

    [booked] = await asyncio.to_thread(shared.wait_events, customer, 1)
    assert 0.3 < time.monotonic() - left < 3
    assert booked.event.estimated == "client_gone"
    shared.assert_nothing_held()
    assert gateway.stop() == 0


async def test_a_worker_that_is_killed_is_replaced(shared: Installation, customer: Customer) -> None:
    gateway = shared.start_gateway(workers=2)
    first, _ = gateway.worker_pids

    await asyncio.to_thread(httpx.get, f"{gateway.url}/v1/models", headers=customer.headers)
    os.kill(first, signal.SIGKILL)
    await until_elsewhere(lambda: len(gateway.worker_pids) == 3, "a third worker")

    async with wire(gateway.port) as client:
        await client.send(chat(customer, "Hello"))
        head, _ = await client.answer()
    assert head.status == 200
    assert gateway.stop() == 0


def renewed(shared: Installation) -> int:
    """Reservations whose estimate counts output already."""
    names = shared.redis.scan_iter("*:reservation:*", count=10_000)
    estimates: list[Any] = [shared.redis.hget(name, "event") for name in names]
    return sum(UsageEvent.decode(estimate).usage.output > 0 for estimate in estimates if estimate)


async def sweep_until_nothing_is_held(shared: Installation) -> None:
    client = redis.asyncio.Redis.from_url(shared.redis_url, socket_timeout=5)
    sweeper = Sweeper(client, shards(SHARDS), Failpoints(), confirm_seconds=0.0)
    try:
        async with asyncio.timeout(10):
            while shared.held():
                await sweeper.round()
                await asyncio.sleep(0.1)
    finally:
        await client.aclose()
