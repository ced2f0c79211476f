import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from gateway.outbound.client import Transport
from gateway.outbound.errors import ConnectionLost, ExchangeAborted
from gateway.outbound.origin import Origin
from gateway.outbound.pool import PoolUse
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import Call, answer_always, opened, peer, stay_silent, transport
from tests.harness.waiting import PATIENCE_SECONDS, until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections_per_origin": 0},
        {"max_connections_per_origin": -1},
        {"max_idle_per_origin": -1},
        {"idle_seconds": 0},
        {"max_head_bytes": 0},
    ],
)
def test_an_unbounded_or_senseless_transport_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Transport(**options)


async def test_closing_ends_what_is_under_way_and_what_waits() -> None:
    async with peer(stay_silent) as upstream, transport(max_connections_per_origin=2) as client:
        exchanges = [client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(4)]
        heads = [asyncio.ensure_future(exchange.head()) for exchange in exchanges]
        await until(lambda: client.use(upstream.origin) == PoolUse(busy=2, waiting=2))

        await client.close()

        results = await asyncio.gather(*heads, return_exceptions=True)
        assert [type(result) for result in results] == [ExchangeAborted] * 4
        assert [getattr(result, "dispatched", None) for result in results] == [True, True, False, False]
        assert client.use(upstream.origin) == PoolUse()


async def test_closing_while_connecting_leaves_nothing() -> None:
    async with peer(stay_silent) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        await client.close()

        assert client.use(upstream.origin) == PoolUse()
        with pytest.raises(ExchangeAborted):
            await exchange.head()


async def test_closing_ends_idle_connections() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        (await opened(client, upstream.origin, upstream.head(), b"", WAIT)).close()

        await client.close()

        await until(lambda: upstream.open == 0)


async def test_a_closed_transport_sends_nothing() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        await client.close()

        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ExchangeAborted) as aborted:
            await exchange.head()
        exchange.close()
        assert not aborted.value.dispatched
        assert upstream.accepted == 0


async def test_an_origin_never_used_has_no_connections() -> None:
    async with transport() as client:
        assert client.use(Origin("http", "127.0.0.1", 1)) == PoolUse()


async def test_a_failed_open_leaves_nothing() -> None:
    async with peer(stay_silent) as upstream, transport() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        await until(lambda: client.use(upstream.origin) == PoolUse())
        await until(lambda: upstream.open == 0)


async def one_of_each() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        for size in (0, 1000, 3_000_000):
            exchange = await opened(client, upstream.origin, upstream.head(), b"x" * size, WAIT)
            assert await exchange.read(100) == b"hello"
            exchange.close()
        aborted = client.send(upstream.origin, upstream.head(), b"", WAIT)
        aborted.abort()
        with pytest.raises(ExchangeAborted):
            await aborted.head()


async def an_upstream_that_hangs_up_amid_a_large_request() -> None:
    async def hang_up(call: Call) -> None:
        call.pause()
        call.half_close()
        await asyncio.sleep(PATIENCE_SECONDS / 2)

    async with peer(hang_up) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"x" * 30_000_000, WAIT)
        async with asyncio.timeout(PATIENCE_SECONDS / 4):
            with pytest.raises(ConnectionLost):
                await exchange.head()
        exchange.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("scenario", [one_of_each, an_upstream_that_hangs_up_amid_a_large_request])
def test_it_works_on_both_event_loops(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], scenario: Callable[[], Awaitable[None]]
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())  # type: ignore[arg-type]
