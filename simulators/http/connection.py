"""
One HTTP exchange with its socket in reach: `Connection` can do what a broken provider does to a TCP stream.

`WireProtocol` is uvicorn's own protocol, which puts the transport into the ASGI scope.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TRANSPORT = "simulators.transport"
LONGEST_STALL_SECONDS = 3600.0
BODY_TIMEOUT_SECONDS = 60.0
SHORT_PAUSE_SECONDS = 0.05
FAREWELL_SECONDS = 5.0


class WireProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[TRANSPORT] = self.transport


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class BodyTooLarge(Exception):
    """The request body is over the provider's limit."""


class Connection:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport = scope[TRANSPORT]
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    async def read_body(self, limit: int) -> bytes:
        """The request body, at most `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await asyncio.wait_for(self._receive(), BODY_TIMEOUT_SECONDS)
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise BodyTooLarge
            if not message.get("more_body"):
                return b"".join(parts)

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client leaves meanwhile. Even no wait lets the loop notice that it left."""
        if seconds > SHORT_PAUSE_SECONDS:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._receive()
        else:
            # Between chunks, where there are many: a plain timer costs a third, and who left is noticed at its end.
            await asyncio.sleep(seconds)
        if self._transport.is_closing():
            raise ClientGone

    async def stall(self) -> None:
        """Say nothing until the client leaves."""
        await self.pause(LONGEST_STALL_SECONDS)
        self.close()

    async def start(self, status: int, headers: dict[str, str]) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        await self._body(data, more=True)

    async def finish(self, data: bytes = b"") -> None:
        """The last bytes, and the end of the HTTP message."""
        await self._body(data, more=False)

    async def _body(self, data: bytes, more: bool) -> None:
        if self._transport.is_closing():
            raise ClientGone
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def write_raw(self, data: bytes) -> None:
        """Bytes on the wire that no HTTP library has seen."""
        self._transport.write(data)

    def close(self) -> None:
        """FIN after what was written."""
        self._transport.close()

    def reset(self) -> None:
        """RST: what the client has not read yet is gone too."""
        sock: Any = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def closed(self) -> None:
        """Wait until the server has noticed that the connection is closed, so that it does not answer for us."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                while (await self._receive())["type"] != "http.disconnect":
                    continue
