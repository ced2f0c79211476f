"""
A scripted upstream on this event loop: raw bytes, no HTTP library between the test and the wire.

    async with peer(answer_with(OK)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"{}", Timeouts())

Each script plays one connection, the last one also all that follow. A script that raises fails the test.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.outbound.client import Transport
from gateway.outbound.connection import UpstreamConnection
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.head import request_head
from gateway.outbound.origin import Origin
from gateway.outbound.timeouts import Timeouts
from tests.harness.waiting import PATIENCE_SECONDS

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Call:
    """One accepted connection, from the upstream's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next request, head and body. Raises IncompleteReadError when the client closed instead."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        return head + await self._reader.readexactly(int(length.split(b": ")[1]))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def read(self, limit: int) -> bytes:
        return await self._reader.read(limit)

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        self._writer.transport.abort()

    def reset_hard(self) -> None:
        """Close with RST, whatever is unread or unsent."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def pause(self) -> None:
        """Read nothing more from the client."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def half_close(self) -> None:
        self._writer.write_eof()

    @property
    def server_name(self) -> Any:
        return self._writer.get_extra_info("ssl_object")

    async def closed_by_client(self) -> None:
        """Returns when the client has closed; what it still sent is thrown away."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass


Script = Callable[[Call], Awaitable[None]]


class Peer:
    def __init__(self, scripts: tuple[Script, ...], *, scheme: str = "http", host: str = "127.0.0.1") -> None:
        self.accepted = 0
        self.requests: list[bytes] = []
        self._scheme, self._host, self._port = scheme, host, 0
        self._scripts = scripts
        self._plays: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @property
    def origin(self) -> Origin:
        return Origin(self._scheme, self._host, self._port)

    @property
    def open(self) -> int:
        """Connections that neither side has closed yet."""
        return len(self._plays)

    def head(self, path: str = "/v1/chat") -> bytes:
        return request_head("POST", path, self.origin.authority, [(b"content-type", b"application/json")])

    async def start(self, context: ssl.SSLContext | None) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, self._host, 0, ssl=context)
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def stop(self) -> None:
        for play in list(self._plays):
            play.cancel()
        await asyncio.gather(*self._plays, return_exceptions=True)
        if self._failures:
            raise self._failures[0]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
        self.accepted += 1
        play = asyncio.current_task()
        assert play is not None
        self._plays.add(play)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await script(Call(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError, asyncio.CancelledError):
            pass  # The client left, or the test is over.
        except BaseException as failure:  # noqa: BLE001 reported by `stop`
            self._failures.append(failure)
        finally:
            writer.transport.abort()
            self._plays.discard(play)


@asynccontextmanager
async def peer(
    *scripts: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", name: str | None = None
) -> AsyncIterator[Peer]:
    upstream = Peer(scripts, scheme="https" if context else "http", host=host)
    server = await upstream.start(context)
    if name is not None:
        upstream._host = name
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[Transport]:
    client = Transport(**options)
    try:
        yield client
    finally:
        await client.close()


async def opened(client: Transport, origin: Origin, head: bytes, body: bytes, timeouts: Timeouts) -> UpstreamExchange:
    """Send a request and wait for the head of its answer."""
    exchange = client.send(origin, head, body, timeouts)
    await exchange.head()  # Ends the exchange when it raises: there is nothing to close then.
    return exchange


def connection_of(exchange: UpstreamExchange) -> UpstreamConnection:
    """The connection that carries it."""
    assert exchange._carrier is not None
    connection: UpstreamConnection = exchange._carrier.drop.__self__  # type: ignore[attr-defined]
    return connection


def answer_with(*answers: bytes) -> Script:
    """Answer one request with each of these, then wait for the client to close."""

    async def play(call: Call) -> None:
        for answer in answers:
            await call.request()
            await call.send(answer)
        await call.closed_by_client()

    return play


async def answer_always(call: Call) -> None:
    while True:
        await call.request()
        await call.send(OK)


def answer_then_close(answer: bytes) -> Script:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(answer)
        call.close()

    return play


async def stay_silent(call: Call) -> None:
    await call.request()
    await call.closed_by_client()
