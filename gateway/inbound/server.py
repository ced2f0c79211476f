"""
The HTTP server of a process: uvicorn's, which accepts, with an orderly end.

SIGTERM first turns readiness red, then waits for the load balancer, then lets running answers finish.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from gateway.inbound.connections import Connections

__all__ = ["GatewayServer"]

LAST_WORDS_SECONDS = 5.0
TICKS_PER_SECOND = 10
"""Of uvicorn's main loop."""


class GatewayServer(uvicorn.Server):
    """`begin_drain` is what SIGTERM calls; the second call ends the process without waiting."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        delay: float = 0.0,
        on_drain: Callable[[], None] = lambda: None,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(config)
        if connections is not None:
            self.server_state = connections
        self._connections = connections
        self._delay = delay
        self._on_drain = on_drain
        self._closing_at: float | None = None

    def begin_drain(self) -> None:
        if self._closing_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._closing_at = asyncio.get_running_loop().time() + self._delay
        self._on_drain()

    async def on_tick(self, counter: int) -> bool:
        if self._closing_at is not None and asyncio.get_running_loop().time() >= self._closing_at:
            self.should_exit = True
        if self._connections is not None and counter % TICKS_PER_SECOND == 0:
            self._connections.look(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn cancels what outlives its patience and leaves at once; what those requests still write is money."""
        await super().shutdown(sockets)
        if self.force_exit:  # Left to the end of the loop, they would end when nobody takes endings any more.
            for task in self.server_state.tasks:
                task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WORDS_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's `__main__`, which has more to stop than the server."""
        yield
