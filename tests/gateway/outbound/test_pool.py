import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.outbound.client import Transport
from gateway.outbound.errors import ConnectFailed, ConnectTimeout, ExchangeAborted, PoolExhausted
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.origin import Origin
from gateway.outbound.pool import PoolUse
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import (
    OK,
    Call,
    Peer,
    answer_always,
    answer_then_close,
    answer_with,
    opened,
    peer,
    stay_silent,
    transport,
)
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
BRIEF = 0.1


async def answered(client: Transport, upstream: Peer) -> UpstreamExchange:
    exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
    await exchange.read(100)
    return exchange


@pytest.fixture
def full_backlog() -> Iterator[Origin]:
    """A listener that accepts nothing: the kernel leaves further connections unanswered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield Origin("http", "127.0.0.1", port)
        for filler in fillers:
            filler.close()


async def test_requests_one_after_the_other_share_a_connection() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        for _ in range(10):
            (await answered(client, upstream)).close()

        assert upstream.accepted == 1
        assert client.use(upstream.origin) == PoolUse(busy=0, idle=1)


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        exchanges = await asyncio.gather(*[answered(client, upstream) for _ in range(10)])

        assert (upstream.accepted, client.use(upstream.origin)) == (10, PoolUse(busy=10))
        for exchange in exchanges:
            exchange.close()
        assert client.use(upstream.origin) == PoolUse(idle=10)


async def test_the_connection_used_last_is_used_next_so_the_surplus_expires() -> None:
    async with peer(answer_always) as upstream, transport(idle_seconds=BRIEF * 3) as client:
        for exchange in await asyncio.gather(*[answered(client, upstream) for _ in range(5)]):
            exchange.close()

        for _ in range(20):
            (await answered(client, upstream)).close()
            await asyncio.sleep(BRIEF / 5)

        assert client.use(upstream.origin) == PoolUse(idle=1)
        assert upstream.accepted == 5


async def test_an_idle_connection_expires() -> None:
    async with peer(answer_always) as upstream, transport(idle_seconds=BRIEF) as client:
        (await answered(client, upstream)).close()

        await until(lambda: client.use(upstream.origin) == PoolUse())
        await until(lambda: upstream.open == 0)


async def test_no_more_are_kept_idle_than_allowed() -> None:
    async with peer(answer_always) as upstream, transport(max_idle_per_origin=2) as client:
        for exchange in await asyncio.gather(*[answered(client, upstream) for _ in range(5)]):
            exchange.close()

        await until(lambda: upstream.open == 2)
        assert client.use(upstream.origin) == PoolUse(idle=2)


@pytest.mark.parametrize("way", ["close", "half_close", "reset_hard"])
async def test_a_connection_that_the_peer_closes_leaves_the_pool_at_once(way: str) -> None:
    goodbye = asyncio.Event()

    async def play(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await goodbye.wait()
        getattr(call, way)()

    async with peer(play, answer_always) as upstream, transport() as client:
        (await answered(client, upstream)).close()

        goodbye.set()

        await until(lambda: client.use(upstream.origin) == PoolUse())
        (await answered(client, upstream)).close()
        assert upstream.accepted == 2


async def test_bytes_on_an_idle_connection_end_it() -> None:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await asyncio.sleep(0.02)
        await call.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await call.closed_by_client()

    async with peer(play) as upstream, transport() as client:
        (await answered(client, upstream)).close()

        await until(lambda: client.use(upstream.origin) == PoolUse())


async def test_the_queue_is_served_in_order_of_arrival() -> None:
    async with peer(answer_always) as upstream, transport(max_connections_per_origin=3) as client:
        running = [client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(3)]
        waiting = [client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(3)]
        for exchange in running:
            await exchange.read(100)

        running[0].close()

        await waiting[0].read(100)
        assert client.use(upstream.origin) == PoolUse(busy=3, waiting=2)
        for exchange in [*running, *waiting]:
            exchange.close()


async def test_a_wait_that_is_too_long_ends_without_a_dispatch() -> None:
    async with peer(stay_silent) as upstream, transport(max_connections_per_origin=1) as client:
        running = client.send(upstream.origin, upstream.head(), b"", WAIT)
        waiting = client.send(upstream.origin, upstream.head(), b"", Timeouts(connect=BRIEF))

        with pytest.raises(PoolExhausted) as exhausted:
            await waiting.head()
        waiting.close()
        running.close()

        assert not exhausted.value.dispatched


async def test_no_more_may_wait_than_run() -> None:
    async with peer(stay_silent) as upstream, transport(max_connections_per_origin=2) as client:
        exchanges = [client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(5)]

        with pytest.raises(PoolExhausted):
            await exchanges[4].head()

        assert client.use(upstream.origin).waiting == 2
        for exchange in exchanges:
            exchange.close()


async def test_who_leaves_the_queue_takes_no_turn() -> None:
    async with peer(answer_always) as upstream, transport(max_connections_per_origin=2) as client:
        running, _other = await answered(client, upstream), await answered(client, upstream)
        leaver, stayer = (client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(2))

        leaver.abort()
        running.close()

        assert await stayer.read(100) == b"hello"
        stayer.close()
        with pytest.raises(ExchangeAborted):
            await leaver.head()


@pytest.mark.parametrize("ending", ["close", "abort", "lost"])
async def test_a_closed_connection_makes_room_for_the_next_in_the_queue(ending: str) -> None:
    async with (
        peer(answer_then_close(OK[:20]) if ending == "lost" else stay_silent, answer_always) as upstream,
        transport(max_connections_per_origin=1) as client,
    ):
        running, waiting = (client.send(upstream.origin, upstream.head(), b"", WAIT) for _ in range(2))
        await until(lambda: upstream.accepted >= 1)

        if ending != "lost":
            getattr(running, ending)()

        assert await waiting.read(100) == b"hello"
        waiting.close()
        running.close()


async def test_a_refused_connection_is_an_error_and_makes_room() -> None:
    async with peer(answer_always) as upstream, transport(max_connections_per_origin=1) as client:
        gone = upstream.origin
    async with transport(max_connections_per_origin=1) as client:
        exchanges = [client.send(gone, upstream.head(), b"", WAIT) for _ in range(2)]

        for exchange in exchanges:
            with pytest.raises(ConnectFailed) as failure:
                await exchange.head()
            assert not failure.value.dispatched
            exchange.close()

        await until(lambda: client.use(gone) == PoolUse())


@pytest.mark.parametrize("timeouts", [Timeouts(connect=BRIEF), Timeouts(connect=30, total=BRIEF)])
async def test_a_connection_not_made_in_time_is_an_error(full_backlog: Origin, timeouts: Timeouts) -> None:
    async with transport() as client:
        exchange = client.send(full_backlog, b"", b"", timeouts)

        with pytest.raises(ConnectTimeout, match=r"within 0\.\d+ s") as timeout:
            await exchange.head()
        exchange.close()

        assert not timeout.value.dispatched
        await until(lambda: client.use(full_backlog) == PoolUse())


async def test_cancelling_while_connecting_leaves_nothing(full_backlog: Origin) -> None:
    async with transport() as client:
        opening = asyncio.ensure_future(opened(client, full_backlog, b"", b"", WAIT))
        await until(lambda: client.use(full_backlog).connecting == 1)

        opening.cancel()

        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: client.use(full_backlog) == PoolUse())


async def test_origins_have_pools_of_their_own() -> None:
    async with peer(answer_always) as one, peer(answer_with(OK)) as two, transport() as client:
        (await answered(client, one)).close()
        (await answered(client, two)).close()

        assert (client.use(one.origin).idle, client.use(two.origin).idle) == (1, 1)


async def test_an_ipv6_address_is_reached() -> None:
    async with peer(answer_always, host="::1") as upstream, transport() as client:
        exchange = await answered(client, upstream)
        exchange.close()

        assert exchange.status == 200
