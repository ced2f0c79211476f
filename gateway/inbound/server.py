"""
The server of the public port: accepts connections, and ends in order.

`begin_drain` first turns readiness red, then waits for the load balancer, then lets running answers finish.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from gateway.inbound.connection import ClientConnection, Handler
from gateway.inbound.connections import Connections

__all__ = ["GatewayServer"]

BACKLOG = 4096
LOOK_SECONDS = 1.0
POLL_SECONDS = 0.05
SETTLE_SECONDS = 5.0
"""How long requests that were cut still have to settle."""


class GatewayServer:
    """`grace_seconds` is how long running answers may take once the port is closed."""

    def __init__(
        self,
        handler: Handler,
        connections: Connections,
        *,
        delay_seconds: float,
        grace_seconds: float,
        on_drain: Callable[[], None],
    ) -> None:
        self._handler = handler
        self._connections = connections
        self._delay_seconds = delay_seconds
        self._grace_seconds = grace_seconds
        self._on_drain = on_drain
        self._draining = False
        self._forced = asyncio.Event()
        self._closing = asyncio.Event()

    def begin_drain(self) -> None:
        """What SIGTERM calls; the second call ends the process without waiting for answers."""
        if self._draining:
            self._forced.set()
            self._closing.set()
            return
        self._draining = True
        self._on_drain()
        asyncio.get_running_loop().call_later(self._delay_seconds, self._closing.set)

    async def serve(self, listener: socket.socket) -> None:
        """Returns when `begin_drain` was called and every request has ended."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: ClientConnection(self._handler, self._connections), sock=listener, backlog=BACKLOG
        )
        looking = asyncio.create_task(self._look())
        try:
            await self._closing.wait()
        finally:
            server.close()
            listener.close()
        self._connections.shut_down()
        await self._finish()
        looking.cancel()
        self._connections.abort()

    async def _look(self) -> None:
        while True:
            self._connections.look(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_SECONDS)

    async def _finish(self) -> None:
        loop, connections = asyncio.get_running_loop(), self._connections
        end = loop.time() + self._grace_seconds
        while (connections.connections or connections.tasks) and not self._forced.is_set() and loop.time() < end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._forced.wait()
        for task in connections.tasks:
            task.cancel()
        if connections.tasks:  # Left to the end of the loop, they would end when no settlement is taken any more.
            await asyncio.wait(connections.tasks, timeout=SETTLE_SECONDS)
