"""What a client's hang-up does to the upstream that is answering it, between two real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.answering.client_disconnects import ClientDisconnects
from gateway.errors import ClientGone
from gateway.inbound.exchange import Exchange
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.timeouts import Timeouts
from gateway.records import metrics
from tests.gateway.answering.serving import END, Cue
from tests.gateway.inbound.listening import listening
from tests.gateway.outbound.peer import STREAM_HEAD, peer, stay_silent, transport
from tests.gateway.wire import Wire, wire
from tests.harness.waiting import until

LONG = 30.0
WAIT = Timeouts(connect=LONG, first_byte=LONG, idle=LONG, total=LONG)
GET = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"
BEGUN, REST = STREAM_HEAD + b"5\r\nhello\r\n", b"4\r\nrest\r\n" + END


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Exchange, Wire]]:
    """A client that waits for its answer."""
    clients: list[Exchange] = []

    async def hold(client: Exchange) -> None:
        clients.append(client)
        await asyncio.Event().wait()

    async with listening(hold) as server, wire(server.port) as client:
        await client.send(GET)
        await until(lambda: clients)
        yield clients[0], client


async def leave(exchange: Exchange, client: Wire) -> None:
    await client.leave()
    await until(lambda: exchange.client_gone)


async def test_without_drains_the_upstream_stops_at_once() -> None:
    disconnects = ClientDisconnects(max_drains=0, drain_seconds=LONG)
    before = metrics.CLIENT_HANG_UPS._value.get()
    async with peer(stay_silent) as upstream, transport() as sender, asking() as (exchange, client):
        asked = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        await until(lambda: asked.dispatched)
        disconnects.watch(exchange, asked)

        await leave(exchange, client)

        with pytest.raises(ClientGone):
            await asked.head()
        asked.close()
        await until(lambda: upstream.open == 0)
    assert metrics.CLIENT_HANG_UPS._value.get() - before == 1


async def test_a_client_that_had_left_before_stops_its_upstream_as_well() -> None:
    disconnects = ClientDisconnects(max_drains=0, drain_seconds=LONG)
    async with peer(stay_silent) as upstream, transport() as sender, asking() as (exchange, client):
        await leave(exchange, client)
        asked = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)

        disconnects.watch(exchange, asked)

        with pytest.raises(ClientGone):
            await asked.head()
        asked.close()


async def test_a_drained_upstream_goes_on_to_its_end() -> None:
    cue = Cue()
    disconnects = ClientDisconnects(max_drains=1, drain_seconds=LONG)
    async with (
        peer(cue.pauses_between(BEGUN, REST)) as upstream,
        transport() as sender,
        asking() as (exchange, client),
    ):
        asked = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        disconnects.watch(exchange, asked)
        begun = await asked.next_chunk()

        await leave(exchange, client)
        cue.given.set()
        rest = await asked.read(100)
        disconnects.ended(exchange, asked)
        asked.close()

        assert (begun, rest, sender.use(upstream.origin).idle) == (b"hello", b"rest", 1)


async def test_a_drain_is_bounded_in_time() -> None:
    disconnects = ClientDisconnects(max_drains=1, drain_seconds=0.05)
    async with (
        peer(Cue().pauses_between(BEGUN, REST)) as upstream,
        transport() as sender,
        asking() as (exchange, client),
    ):
        asked = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        disconnects.watch(exchange, asked)
        await asked.next_chunk()

        await leave(exchange, client)

        with pytest.raises(ClientGone):
            await asked.next_chunk()
        asked.close()


async def test_only_so_many_answers_are_drained_at_once_and_each_place_is_free_again() -> None:
    disconnects = ClientDisconnects(max_drains=1, drain_seconds=LONG)
    async with (
        peer(stay_silent) as upstream,
        transport() as sender,
        asking() as (first, first_client),
        asking() as (second, second_client),
        asking() as (third, third_client),
    ):
        asked: list[UpstreamExchange] = []
        for exchange in (first, second, third):
            asked.append(sender.send(upstream.origin, upstream.head(), b"{}", WAIT))
            disconnects.watch(exchange, asked[-1])
        await until(lambda: all(one.dispatched for one in asked))

        await leave(first, first_client)
        await leave(second, second_client)
        stopped = [stopped_by_hang_up(one) for one in asked]
        disconnects.ended(first, asked[0])
        asked[0].close()
        await leave(third, third_client)
        afterwards = stopped_by_hang_up(asked[2])
        for one in asked[1:]:
            one.close()

    assert (stopped, afterwards) == ([False, True, False], False)


async def test_an_upstream_that_has_seen_nothing_is_never_drained() -> None:
    """There is nothing to read on to: it would only be asked for nobody."""
    disconnects = ClientDisconnects(max_drains=10, drain_seconds=LONG)
    async with (
        peer(stay_silent) as upstream,
        transport(max_connections_per_origin=1) as sender,
        asking() as (exchange, client),
    ):
        occupying = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        await until(lambda: occupying.dispatched)
        queued = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        disconnects.watch(exchange, queued)

        await leave(exchange, client)

        with pytest.raises(ClientGone):
            await queued.head()
        assert not queued.dispatched
        for one in (queued, occupying):
            one.close()


async def test_a_hang_up_behind_the_end_is_nobodys() -> None:
    disconnects = ClientDisconnects(max_drains=0, drain_seconds=LONG)
    before = metrics.CLIENT_HANG_UPS._value.get()
    async with peer(stay_silent) as upstream, transport() as sender, asking() as (exchange, client):
        asked = sender.send(upstream.origin, upstream.head(), b"{}", WAIT)
        await until(lambda: asked.dispatched)
        disconnects.watch(exchange, asked)
        disconnects.ended(exchange, asked)

        await leave(exchange, client)

        assert not stopped_by_hang_up(asked)
        asked.close()
    assert metrics.CLIENT_HANG_UPS._value.get() == before


def stopped_by_hang_up(asked: UpstreamExchange) -> bool:
    return isinstance(asked._error, ClientGone)
