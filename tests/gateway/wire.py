"""
A client that is only bytes: it can leave at any moment, and send what no HTTP library would.

    async with wire(gateway.port) as client:
        await client.send(chat(customer, "Hello", model="gpt-4o-mini", stream=True))
        answer = await client.head()
        await client.read_past(b"[DONE]")
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.harness.installation import Customer
from tests.harness.waiting import PATIENCE_SECONDS

CONTENT = b'"content":"'
"""In every content event of both simulated providers, once translated."""


@dataclass(frozen=True, slots=True)
class Head:
    status: int
    headers: dict[str, str]


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = b""
        """Of the body so far."""

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> Head:
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.strip().split("\r\n")
        return Head(int(first.split()[1]), {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)})

    async def answer(self) -> tuple[Head, Any]:
        """A whole answer with a length, its body parsed."""
        head = await self.head()
        return head, json.loads(await self.exactly(int(head.headers["content-length"])))

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.readexactly(size)

    async def read_past(self, marker: bytes, times: int = 1) -> None:
        """Until the body so far holds the marker so many times. Raises EOFError when the gateway closes before."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.received.count(marker) < times:
                chunk = await self._reader.read(65536)
                if not chunk:
                    raise EOFError(self.received[-500:])
                self.received += chunk

    async def read_to_end(self) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while chunk := await self._reader.read(65536):
                self.received += chunk
        return self.received

    async def leave(self, *, reset: bool = False) -> None:
        """When this returns, the gateway's side has been told. `reset`: with RST, as if data were left unread."""
        if reset:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def half_close(self) -> None:
        self._writer.write_eof()


@asynccontextmanager
async def wire(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Wire]:
    """`receive_buffer` makes it small: a client that reads little at a time."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer or 2**20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def chat(customer: Customer, text: str, *, model: str = "gpt-4o-mini", **more: Any) -> bytes:
    """A whole request."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()
    return request(customer, body)


def request(customer: Customer | None, body: bytes, *, headers: str = "", path: str = "/v1/chat/completions") -> bytes:
    key = f"authorization: Bearer {customer.key}\r\n" if customer else ""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{key}{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body
