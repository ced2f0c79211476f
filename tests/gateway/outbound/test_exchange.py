import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.outbound.errors import AnswerTooLarge, ConnectionLost, ExchangeAborted
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import (
    OK,
    STREAM_HEAD,
    Call,
    answer_always,
    answer_with,
    opened,
    peer,
    stay_silent,
    transport,
)
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)


async def stream_without_end(call: Call) -> None:
    await call.request()
    await call.send(STREAM_HEAD + b"5\r\nhello\r\n")
    await call.closed_by_client()


async def test_status_headers_and_body_arrive() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7 \t\r\nX-Twice: 1\r\nx-twice: 2\r\nContent-Length: 2\r\n\r\nno"
    async with peer(answer_with(answer)) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"{}", WAIT)

        status = await exchange.head()
        body = await exchange.read(100)
        exchange.close()

        assert (status, exchange.status, body) == (429, 429, b"no")
        assert (exchange.header(b"retry-after"), exchange.header(b"x-twice")) == (b"7", b"1")
        assert exchange.header(b"x-none") is None
        assert (b"x-twice", b"2") in exchange.headers


async def test_the_upstream_gets_the_head_the_length_and_the_body() -> None:
    seen = []

    async def record(call: Call) -> None:
        seen.append(await call.request())
        await call.send(OK)

    async with peer(record) as upstream, transport() as client:
        (await opened(client, upstream.origin, upstream.head("/v1/a?b=c"), b'{"a": 1}', WAIT)).close()

        authority = upstream.origin.authority.encode()
        assert seen == [
            b"POST /v1/a?b=c HTTP/1.1\r\nhost: " + authority + b"\r\naccept-encoding: identity\r\n"
            b'content-type: application/json\r\ncontent-length: 8\r\n\r\n{"a": 1}'
        ]


async def test_a_chunk_is_handed_over_while_the_next_one_is_still_to_come() -> None:
    go_on = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"5\r\nfirst\r\n")
        await go_on.wait()
        await call.send(b"6\r\nsecond\r\n0\r\n\r\n")
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        first = await exchange.next_chunk()
        go_on.set()
        second = await exchange.next_chunk()
        end = [await exchange.next_chunk(), await exchange.next_chunk()]
        exchange.close()

        assert (first, second, end) == (b"first", b"second", [b"", b""])


async def test_what_came_since_the_last_call_is_joined() -> None:
    async with (
        peer(answer_with(STREAM_HEAD + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")) as upstream,
        transport() as client,
    ):
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        chunk = await exchange.next_chunk()
        exchange.close()

        assert chunk == b"abc"


@pytest.mark.parametrize(("size", "limit"), [(5, 4), (300_000, 299_999), (3_000_000, 1000)])
async def test_a_body_past_the_limit_is_refused_and_its_connection_closed(size: int, limit: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    async with peer(answer_with(answer)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(AnswerTooLarge, match=f"{limit} bytes"):
            await exchange.read(limit)
        exchange.close()

        await until(lambda: upstream.open == 0)
        assert client.use(upstream.origin).idle == 0


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
async def test_a_body_of_just_the_limit_is_read(size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    async with peer(answer_with(answer)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        body = await exchange.read(size)
        exchange.close()

        assert body == b"x" * size
        assert client.use(upstream.origin).idle == 1


async def wait_for_head(exchange: UpstreamExchange) -> object:
    return await exchange.head()


async def wait_for_chunk(exchange: UpstreamExchange) -> object:
    await exchange.next_chunk()
    return await exchange.next_chunk()


async def wait_for_body(exchange: UpstreamExchange) -> object:
    return await exchange.read(1000)


WAITS = [(stay_silent, wait_for_head), (stream_without_end, wait_for_chunk), (stream_without_end, wait_for_body)]


class ClientLeft(Exception):
    pass


@pytest.mark.parametrize(("script", "wait"), WAITS)
async def test_an_abort_from_a_callback_ends_the_wait_and_the_connection_at_once(
    script: Callable[[Call], Awaitable[None]], wait: Callable[[UpstreamExchange], Awaitable[object]]
) -> None:
    async with peer(script) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)
        waiting = asyncio.ensure_future(wait(exchange))
        await until(lambda: upstream.open == 1)
        asyncio.get_running_loop().call_later(0.02, exchange.abort, ClientLeft())

        with pytest.raises(ClientLeft):
            await waiting

        await until(lambda: upstream.open == 0)
        with pytest.raises(ClientLeft):
            await exchange.next_chunk()
        assert client.use(upstream.origin).busy == 0


@pytest.mark.parametrize(("script", "wait"), WAITS)
async def test_a_cancelled_wait_closes_the_connection(
    script: Callable[[Call], Awaitable[None]], wait: Callable[[UpstreamExchange], Awaitable[object]]
) -> None:
    async with peer(script) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)
        waiting = asyncio.ensure_future(wait(exchange))
        await until(lambda: upstream.open == 1)
        await asyncio.sleep(0.02)

        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: upstream.open == 0)


async def test_an_abort_before_the_connection_is_made_says_that_nothing_was_dispatched() -> None:
    async with peer(stay_silent) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        exchange.abort()

        with pytest.raises(ExchangeAborted) as aborted:
            await exchange.head()
        assert not aborted.value.dispatched
        await until(lambda: client.use(upstream.origin).connecting == 0)
        assert client.use(upstream.origin).busy == 0


async def test_an_abort_after_the_dispatch_says_so() -> None:
    async with peer(stream_without_end) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        exchange.abort()

        with pytest.raises(ExchangeAborted) as aborted:
            await exchange.next_chunk()
        assert aborted.value.dispatched


async def test_the_first_reason_to_abort_stays() -> None:
    async with peer(stream_without_end) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        exchange.abort(ClientLeft())
        exchange.abort(ValueError())
        exchange.abort()

        with pytest.raises(ClientLeft):
            await exchange.next_chunk()

        exchange.close()
        with pytest.raises(ExchangeAborted, match="closed"):
            await exchange.next_chunk()


async def test_closing_amid_the_body_closes_the_connection() -> None:
    async with peer(stream_without_end) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        exchange.close()

        await until(lambda: upstream.open == 0)
        with pytest.raises(ExchangeAborted):
            await exchange.next_chunk()


async def test_closing_before_the_head_withdraws_the_request() -> None:
    async with peer(stay_silent) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        exchange.close()

        with pytest.raises(ExchangeAborted):
            await exchange.head()
        await until(lambda: client.use(upstream.origin).connecting == 0)


async def test_a_second_close_does_no_harm_to_the_next_exchange() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        first = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        await first.read(100)
        first.close()
        second = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        first.close()
        first.abort()

        assert await second.read(100) == b"hello"
        second.close()
        assert upstream.accepted == 1


async def test_an_unread_body_that_has_ended_leaves_the_connection_usable() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        for _ in range(3):
            exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
            exchange.close()

        assert upstream.accepted == 1


async def test_what_came_before_the_upstream_died_is_delivered_before_the_error() -> None:
    async def die(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"5\r\nhello\r\n")
        call.close()

    async with peer(die) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        await until(lambda: upstream.open == 0)
        await asyncio.sleep(0.02)

        first = await exchange.next_chunk()

        assert first == b"hello"
        with pytest.raises(ConnectionLost):
            await exchange.next_chunk()
        exchange.close()


async def test_the_caller_can_ask_whether_anything_was_sent() -> None:
    """S15, B10: who pays for a request that was given up depends on it."""
    async with peer(stay_silent) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"{}", WAIT)
        connecting = exchange.dispatched
        await until(lambda: exchange.dispatched, "a connection")
        exchange.abort()
        exchange.close()

        assert not connecting
        assert exchange.dispatched  # It was, whatever became of it.
