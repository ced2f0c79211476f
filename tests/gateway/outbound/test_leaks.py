"""Whatever point an exchange is given up at, connections, tasks and timers go back to zero."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from gateway.outbound.client import Transport
from gateway.outbound.errors import TransportError
from gateway.outbound.pool import PoolUse
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import STREAM_HEAD, Call, Peer, peer, transport
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
LOOPS = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


async def slow_stream(call: Call) -> None:
    while True:
        await call.request()
        await asyncio.sleep(0.002)
        await call.send(STREAM_HEAD)
        for _ in range(3):
            await asyncio.sleep(0.002)
            await call.send(b"5\r\nhello\r\n")
        await call.send(b"0\r\n\r\n")


async def use(client: Transport, upstream: Peer) -> None:
    exchange = client.send(upstream.origin, upstream.head(), b"x" * 1000, WAIT)
    try:
        while await exchange.next_chunk():
            pass
    finally:
        exchange.close()


async def give_up_anywhere(client: Transport, upstream: Peer, dice: random.Random) -> None:
    task = asyncio.ensure_future(use(client, upstream))
    for _ in range(dice.randrange(12)):
        await asyncio.sleep(0)
    await asyncio.sleep(dice.random() * 0.015)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def abort_anywhere(client: Transport, upstream: Peer, dice: random.Random) -> None:
    exchange = client.send(upstream.origin, upstream.head(), b"x" * 1000, WAIT)
    asyncio.get_running_loop().call_later(dice.random() * 0.015, exchange.abort)
    with contextlib.suppress(TransportError):
        await exchange.read(1000)
    exchange.close()


@LOOPS
@pytest.mark.parametrize("way", [give_up_anywhere, abort_anywhere])
@pytest.mark.parametrize("limit", [4, 100])
def test_giving_up_at_any_point_leaks_nothing(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    way: Callable[[Transport, Peer, random.Random], Awaitable[None]],
    limit: int,
) -> None:
    dice = random.Random(7)

    async def scenario() -> None:
        async with (
            peer(slow_stream) as upstream,
            transport(max_connections_per_origin=limit, idle_seconds=0.05) as client,
        ):
            await asyncio.gather(*[way(client, upstream, dice) for _ in range(150)])

            await until(lambda: client.use(upstream.origin) == PoolUse(), "an empty pool")
            await until(lambda: upstream.open == 0, "no connection at the upstream")
            ours = [task for task in asyncio.all_tasks() if "gateway" in repr(task.get_coro())]
            assert not ours

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


def test_no_timer_outlives_its_connection() -> None:
    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        async with peer(slow_stream) as upstream, transport(max_connections_per_origin=2) as client:
            dice = random.Random(3)
            await asyncio.gather(*[give_up_anywhere(client, upstream, dice) for _ in range(20)])
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        owners = [type(getattr(timer._callback, "__self__", None)).__module__ for timer in timers]
        return sum(owner.startswith("gateway") for owner in owners)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(scenario()) == 0


async def test_a_busy_connection_has_one_timer_however_many_requests_and_chunks() -> None:
    async with peer(slow_stream) as upstream, transport() as client:
        loop = asyncio.get_running_loop()
        armed = []
        call_at = loop.call_at

        def count(*arguments: object, **options: object) -> object:
            armed.append(arguments)
            return call_at(*arguments, **options)  # type: ignore[arg-type]

        loop.call_at = count  # type: ignore[method-assign,assignment]
        for _ in range(5):
            await use(client, upstream)

        assert len([1 for arguments in armed if "Connection" in repr(arguments)]) <= 2
