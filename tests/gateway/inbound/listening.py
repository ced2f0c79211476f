"""The gateway's HTTP server on a real port, in front of whatever answers a test's requests."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.inbound.connection import Handler
from gateway.inbound.connections import Connections
from gateway.inbound.server import GatewayServer

__all__ = ["Listening", "listening"]

LONG = 60.0


@dataclass
class Listening:
    port: int
    server: GatewayServer
    connections: Connections
    serving: "asyncio.Task[None]"
    drains: list[None]
    """One for each time that the process was told that it drains."""

    async def stop(self) -> None:
        """At once: requests under way are cut."""
        if not self.serving.done():
            self.server.begin_drain()
            self.server.begin_drain()
        await self.serving


@asynccontextmanager
async def listening(
    handler: Handler,
    *,
    limit: int = 100,
    idle_seconds: float = LONG,
    stalled_seconds: float = LONG,
    delay_seconds: float = 0.0,
    grace_seconds: float = LONG,
    send_buffer: int | None = None,
) -> AsyncIterator[Listening]:
    """Requests that are still open when the test has ended are cut. `send_buffer` makes the kernel's small (bytes)."""
    connections = Connections(limit=limit, idle_seconds=idle_seconds, stalled_seconds=stalled_seconds)
    drains: list[None] = []
    server = GatewayServer(
        handler,
        connections,
        delay_seconds=delay_seconds,
        grace_seconds=grace_seconds,
        on_drain=lambda: drains.append(None),
    )
    listener = socket.create_server(("127.0.0.1", 0))
    if send_buffer is not None:  # Connections have it from their listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    serving = asyncio.create_task(server.serve(listener))
    port: int = listener.getsockname()[1]
    open_now = Listening(port, server, connections, serving, drains)
    try:
        yield open_now
    finally:
        await open_now.stop()
