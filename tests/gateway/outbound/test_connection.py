import asyncio
import time
from collections.abc import Callable

import pytest

from gateway.outbound.client import Transport
from gateway.outbound.connection import MAX_UNDELIVERED_BYTES, STALE_SECONDS, UpstreamConnection
from gateway.outbound.errors import (
    ConnectionLost,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    TotalTimeout,
    TransportError,
)
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import (
    OK,
    STREAM_HEAD,
    Call,
    Peer,
    Script,
    answer_always,
    answer_then_close,
    answer_with,
    connection_of,
    opened,
    peer,
    stay_silent,
    transport,
)
from tests.gateway.outbound.responses import GOOD, REFUSED
from tests.harness.waiting import until

WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
BRIEF = 0.3
LONG_STREAM = STREAM_HEAD + b"100000\r\n" + b"x" * 0x100000 + b"\r\n"


async def drain(exchange: UpstreamExchange, received: list[bytes]) -> None:
    while chunk := await exchange.next_chunk():
        received.append(chunk)


@pytest.mark.parametrize("data", [OK, STREAM_HEAD + b"5\r\nhello\r\n0\r\n\r\n"])
async def test_an_answer_that_dribbles_byte_by_byte_is_whole(data: bytes) -> None:
    async def dribble(call: Call) -> None:
        await call.request()
        for byte in data:
            await call.send(bytes([byte]))
            await asyncio.sleep(0)
        await call.closed_by_client()

    async with peer(dribble) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        body = await exchange.read(100)
        exchange.close()

        assert body == b"hello"
        assert client.use(upstream.origin).idle == 1


@pytest.mark.parametrize(("data", "status", "body", "reusable"), GOOD)
async def test_a_connection_is_kept_only_after_an_answer_that_leaves_no_doubt(
    data: bytes, status: int, body: bytes, reusable: bool
) -> None:
    play = answer_then_close(data) if b"to the end" in data else answer_with(data)
    async with peer(play) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        received = await exchange.read(100)
        exchange.close()

        assert (exchange.status, received) == (status, body)
        assert client.use(upstream.origin).idle == int(reusable)


@pytest.mark.parametrize("data", REFUSED)
async def test_a_malformed_answer_closes_the_connection(data: bytes) -> None:
    async with peer(answer_with(data)) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(MalformedResponse) as refusal:
            await exchange.read(100)
        exchange.close()

        assert refusal.value.dispatched
        await until(lambda: upstream.open == 0)


@pytest.mark.parametrize("cut", [0, 1, 17, len(OK) - 6, len(OK) - 5, len(OK) - 1])
@pytest.mark.parametrize("way", ["close", "half_close", "reset"])
async def test_an_upstream_that_closes_early_is_an_error_never_an_end(cut: int, way: str) -> None:
    async def leave(call: Call) -> None:
        await call.request()
        await call.send(OK[:cut])
        await asyncio.sleep(0.01)
        getattr(call, way)()
        await call.closed_by_client()

    async with peer(leave) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost) as lost:
            await exchange.read(100)
        exchange.close()

        assert lost.value.bytes_received is (cut > 0)
        assert lost.value.dispatched
        assert upstream.accepted == 1
        await until(lambda: client.use(upstream.origin).busy == 0)


async def test_a_reset_is_no_clean_end_of_a_body_without_length() -> None:
    async def leave(call: Call) -> None:
        await call.request()
        await call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await asyncio.sleep(0.02)
        call.reset_hard()

    async with peer(leave) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost):
            await exchange.read(100)
        exchange.close()


# Time-outs


async def dribble_the_head(call: Call) -> None:
    await call.request()
    for byte in OK:
        await call.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def stall_in_the_head(call: Call) -> None:
    await call.request()
    await call.send(OK[:20])
    await call.closed_by_client()


async def stall_after_an_interim_answer(call: Call) -> None:
    await call.request()
    await call.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    await call.closed_by_client()


@pytest.mark.parametrize("script", [stay_silent, stall_in_the_head, dribble_the_head, stall_after_an_interim_answer])
async def test_the_head_must_be_whole_in_time(script: Script) -> None:
    async with peer(script) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", Timeouts(first_byte=BRIEF))
        began = time.monotonic()

        with pytest.raises(FirstByteTimeout):
            await exchange.head()
        exchange.close()

        assert BRIEF * 0.9 < time.monotonic() - began < BRIEF + 1
        await until(lambda: upstream.open == 0)


async def test_a_stalled_body_times_out_counted_from_its_last_byte() -> None:
    async def stall(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD)
        for _ in range(10):
            await asyncio.sleep(BRIEF / 6)
            await call.send(b"1\r\nx\r\n")
        await call.closed_by_client()

    async with peer(stall) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(idle=BRIEF))
        received: list[bytes] = []

        with pytest.raises(IdleTimeout):
            await drain(exchange, received)
        exchange.close()

        assert b"".join(received) == b"x" * 10
        await until(lambda: upstream.open == 0)


async def test_a_stream_that_never_stalls_and_never_ends_is_cut_off() -> None:
    async def babble(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD)
        while True:
            await call.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with peer(babble) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(total=BRIEF))

        with pytest.raises(TotalTimeout) as timeout:
            await exchange.read(10_000)
        exchange.close()

        assert timeout.value.dispatched
        await until(lambda: upstream.open == 0)


async def test_short_and_long_timeouts_share_a_connection() -> None:
    async with peer(answer_with(OK, OK)) as upstream, transport() as client:
        for timeouts in (Timeouts(), Timeouts(total=5)):
            exchange = await opened(client, upstream.origin, upstream.head(), b"", timeouts)
            await exchange.read(100)
            exchange.close()

        exchange = client.send(upstream.origin, upstream.head(), b"", Timeouts(first_byte=BRIEF))

        with pytest.raises(FirstByteTimeout):
            await exchange.head()
        exchange.close()


async def test_an_exchange_that_nobody_closes_ends_by_its_total_time() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(total=BRIEF))

        await until(lambda: upstream.open == 0)

        assert client.use(upstream.origin).busy == 0
        exchange.close()


# Back-pressure


async def test_a_slow_reader_slows_the_upstream_down_and_loses_nothing() -> None:
    sent = 0

    async def pour(call: Call) -> None:
        nonlocal sent
        await call.request()
        await call.send(STREAM_HEAD)
        for _ in range(40):
            await call.send(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
            sent += 1
        await call.send(b"0\r\n\r\n")
        await call.closed_by_client()

    async with peer(pour) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(idle=BRIEF))
        await asyncio.sleep(BRIEF * 1.5)
        held_back = sent
        largest = received = 0
        while chunk := await exchange.next_chunk():
            largest = max(largest, len(chunk))
            received += len(chunk)
        exchange.close()

        assert held_back < 40
        assert received == 40 * 0x100000
        assert largest < MAX_UNDELIVERED_BYTES + 300_000


@pytest.mark.parametrize("goes_on", [True, False])
async def test_the_idle_time_starts_again_after_a_pause_of_ours(goes_on: bool) -> None:
    resumed = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD + b"50000\r\n" + b"x" * 0x50000 + b"\r\n")
        await resumed.wait()
        if goes_on:
            await asyncio.sleep(BRIEF / 6)
            await call.send(b"0\r\n\r\n")
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(idle=BRIEF))
        await until(lambda: exchange.paused)
        await asyncio.sleep(BRIEF * 1.5)

        resumed.set()
        reading = exchange.read(0x50000)

        if goes_on:
            assert len(await reading) == 0x50000
        else:
            with pytest.raises(IdleTimeout):
                await reading
        exchange.close()


async def test_a_caller_may_take_its_time_over_an_answer_that_is_whole() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(idle=BRIEF, first_byte=BRIEF))

        await asyncio.sleep(BRIEF * 1.5)

        assert await exchange.read(100) == b"hello"
        exchange.close()
        assert client.use(upstream.origin).idle == 1


async def test_a_connection_that_is_not_read_from_is_not_used_again() -> None:
    answer = STREAM_HEAD + b"50000\r\n" + b"x" * 0x50000
    async with peer(answer_with(answer)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        await until(lambda: exchange.paused)

        # As TLS delivers what it had decrypted before the pause.
        connection_of(exchange).data_received(b"\r\n0\r\n\r\n")
        exchange.close()

        assert client.use(upstream.origin).idle == 0


@pytest.mark.parametrize("ending", [UpstreamConnection.abort, UpstreamConnection.eof_received])
async def test_a_closed_connection_is_out_of_the_pool_before_the_loop_knows(
    ending: Callable[[UpstreamConnection], None],
) -> None:
    async with peer(answer_always) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        connection = connection_of(exchange)
        exchange.close()

        ending(connection)

        assert client.use(upstream.origin).idle == 0


async def test_a_connection_given_up_while_it_was_being_made_is_closed_when_it_is() -> None:
    async with peer(answer_always) as upstream, transport() as client:
        first = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(connection_of(first)._owner, loop, max_head_bytes=1000)

        connection.abort()
        await loop.create_connection(lambda: connection, upstream.origin.host, upstream.origin.port)

        await until(lambda: upstream.accepted == 2 and upstream.open == 1)
        first.close()


async def test_only_what_is_undelivered_holds_the_upstream_back() -> None:
    piece = b"20000\r\n" + b"x" * 0x20000 + b"\r\n"

    async def stream(call: Call) -> None:
        await call.request()
        await call.send(STREAM_HEAD)
        for _ in range(3):
            await call.send(piece)
            await asyncio.sleep(0.02)
        await call.closed_by_client()

    async with peer(stream) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
        received = 0

        while received < 3 * 0x20000:
            received += len(await exchange.next_chunk())

        assert exchange.undelivered == 0
        assert not exchange.paused
        exchange.close()


async def test_the_total_time_runs_on_while_the_reader_is_slow() -> None:
    async with peer(answer_with(LONG_STREAM)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", Timeouts(total=BRIEF))
        await until(lambda: upstream.open == 0)

        with pytest.raises(TotalTimeout):
            await drain(exchange, [])
        exchange.close()


async def test_a_large_request_waits_for_a_slow_upstream() -> None:
    body = bytes(range(256)) * 64 * 1024
    seen = b""

    async def sip(call: Call) -> None:
        nonlocal seen
        await asyncio.sleep(0.05)
        seen = await call.request()
        await call.send(OK)
        await call.closed_by_client()

    async with peer(sip) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), body, WAIT)
        await exchange.read(100)
        exchange.close()

        assert seen.endswith(b"content-length: %d\r\n\r\n" % len(body) + body)
        assert client.use(upstream.origin).idle == 1


async def test_an_upstream_that_takes_a_large_request_slowly_has_time_to_answer() -> None:
    patience = 1.0

    async def sip(call: Call) -> None:
        taken = 0
        while taken < 40_000_000:
            taken += len(await call.read(100_000))
            await asyncio.sleep(0.004)
        await call.send(OK)
        await call.closed_by_client()

    async with peer(sip) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"x" * 40_000_000, Timeouts(first_byte=patience))
        began = time.monotonic()

        await exchange.head()
        exchange.close()

        assert time.monotonic() - began > patience


async def test_an_upstream_that_takes_no_request_times_out() -> None:
    async def ignore(call: Call) -> None:
        call.pause()
        await asyncio.sleep(5)

    async with peer(ignore) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"x" * 30_000_000, Timeouts(first_byte=BRIEF))

        with pytest.raises(FirstByteTimeout):
            await exchange.head()
        exchange.close()

        await until(lambda: client.use(upstream.origin).busy == 0)


async def test_a_connection_whose_request_is_not_wholly_sent_is_not_used_again() -> None:
    async def answer_early(call: Call) -> None:
        call.pause()
        await call.send(OK)
        await asyncio.sleep(5)

    async with peer(answer_early) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"x" * 30_000_000, WAIT)

        body = await exchange.read(100)
        buffered = connection_of(exchange)._transport.get_write_buffer_size()  # type: ignore[union-attr]
        exchange.close()

        assert body == b"hello"
        assert client.use(upstream.origin).idle == 0
        assert buffered < 1_000_000


# Stale connections


def serve_once_then(way: str) -> Script:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await call.request()
        getattr(call, way)()

    return play


async def use_once(client: Transport, upstream: Peer) -> None:
    exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
    await exchange.read(100)
    exchange.close()


@pytest.mark.parametrize("way", ["close", "half_close", "reset_hard"])
async def test_a_stale_connection_is_replaced_unnoticed(way: str) -> None:
    async with peer(serve_once_then(way), answer_always) as upstream, transport() as client:
        await use_once(client, upstream)

        exchange = await opened(client, upstream.origin, upstream.head(), b"{}", WAIT)

        assert await exchange.read(100) == b"hello"
        exchange.close()
        assert upstream.accepted == 2


async def test_there_is_one_retry_and_on_a_fresh_connection() -> None:
    async def close_after_request(call: Call) -> None:
        await call.request()
        call.close()

    async with peer(serve_once_then("close"), close_after_request) as upstream, transport() as client:
        await use_once(client, upstream)
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost):
            await exchange.head()
        exchange.close()

        assert upstream.accepted == 2


async def test_a_fresh_connection_is_never_retried() -> None:
    async def close_after_request(call: Call) -> None:
        await call.request()
        call.close()

    async with peer(close_after_request) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost):
            await exchange.head()
        exchange.close()

        assert upstream.accepted == 1


async def test_one_byte_of_an_answer_forbids_the_retry() -> None:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await call.request()
        await call.send(b"H")
        call.close()

    async with peer(play) as upstream, transport() as client:
        await use_once(client, upstream)
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectionLost) as lost:
            await exchange.head()
        exchange.close()

        assert lost.value.bytes_received
        assert upstream.accepted == 1


async def test_an_upstream_that_died_over_the_request_does_not_get_it_twice() -> None:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await call.request()
        await asyncio.sleep(STALE_SECONDS + 0.1)
        call.close()

    async with peer(play) as upstream, transport() as client:
        await use_once(client, upstream)
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(TransportError) as lost:
            await exchange.head()
        exchange.close()

        assert lost.value.dispatched
        assert upstream.accepted == 1


async def test_a_large_request_is_sent_again_from_its_start() -> None:
    body = b"0123456789" * 50_000
    seen = b""

    async def take(call: Call) -> None:
        nonlocal seen
        seen = await call.request()
        await call.send(OK)

    async def serve_once_then_close(call: Call) -> None:
        await call.request()
        await call.send(OK)
        await call.read(1)
        call.reset_hard()

    async with peer(serve_once_then_close, take) as upstream, transport() as client:
        await use_once(client, upstream)

        exchange = await opened(client, upstream.origin, upstream.head(), body, WAIT)
        exchange.close()

        assert seen.endswith(body)
