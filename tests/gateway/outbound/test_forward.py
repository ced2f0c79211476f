"""`UpstreamExchange.forward`: chunks go from socket to sink without waking the task that waits for the end."""

import asyncio

import pytest

from gateway.outbound.errors import ConnectionLost
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import STREAM_HEAD, Call, answer_with, opened, peer, transport
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)


class Sink:
    """Takes chunks until one of them is in `full_after`."""

    def __init__(self, *full_after: bytes) -> None:
        self.chunks: list[bytes] = []
        self._full_after = full_after

    def __call__(self, chunk: bytes) -> bool:
        self.chunks.append(chunk)
        return chunk not in self._full_after


async def test_every_chunk_reaches_the_sink_in_order_and_the_end_is_told() -> None:
    sink, steps = Sink(), asyncio.Queue[None]()

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD)
        for text in (b"a", b"b", b"c"):
            await call.send(b"1\r\n" + text + b"\r\n")
            await steps.get()
        await call.send(b"0\r\n\r\n")
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        forwarding = asyncio.create_task(exchange.forward(sink))
        for count in (1, 2, 3):
            await until(lambda count=count: len(sink.chunks) == count)  # type: ignore[misc]
            steps.put_nowait(None)

        more = await forwarding
        exchange.close()

        assert (more, sink.chunks) == (False, [b"a", b"b", b"c"])
        assert client.use(upstream.origin).idle == 1


async def test_what_arrives_after_a_full_sink_waits_for_the_next_call() -> None:
    sink, go_on = Sink(b"a", b"bc"), asyncio.Event()

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"1\r\na\r\n")
        await go_on.wait()
        await call.send(b"1\r\nb\r\n1\r\nc\r\n")
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        first = await exchange.forward(sink)
        taken = list(sink.chunks)
        go_on.set()
        second = await exchange.forward(sink)
        exchange.close()

        assert (first, taken) == (True, [b"a"])
        assert (second, sink.chunks) == (True, [b"a", b"bc"])


async def test_a_chunk_that_comes_with_the_end_is_given_before_the_end_is_told() -> None:
    sink = Sink()
    async with peer(answer_with(STREAM_HEAD + b"1\r\na\r\n0\r\n\r\n")) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        more = await exchange.forward(sink)
        exchange.close()

        assert (more, sink.chunks) == (False, [b"a"])


async def test_an_upstream_that_dies_is_reported_after_its_last_chunk() -> None:
    sink = Sink()

    async def die(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"1\r\na\r\n")
        call.close()

    async with peer(die) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost):
            await exchange.forward(sink)
        exchange.close()

        assert sink.chunks == [b"a"]


async def test_a_cancelled_wait_takes_nothing_more_and_drops_the_connection() -> None:
    sink = Sink()

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"1\r\na\r\n")
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        forwarding = asyncio.create_task(exchange.forward(sink))
        await until(lambda: sink.chunks == [b"a"])

        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        exchange.close()

        await until(lambda: upstream.open == 0)
