"""The connections of one origin: the idle, the busy, those being made, and who waits for one."""

import asyncio
import ssl
from dataclasses import dataclass
from functools import partial

from gateway.outbound.connection import Owner, UpstreamConnection
from gateway.outbound.dialling import dial
from gateway.outbound.errors import ConnectFailed, ConnectTimeout, ExchangeAborted, PoolExhausted, TransportError
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.origin import Origin


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How many connections are `busy`, `idle` and being made (`connecting`), and how many exchanges wait for one."""

    busy: int = 0
    idle: int = 0
    connecting: int = 0
    waiting: int = 0


class OriginPool:
    """
    At most `max_connections` at a time, those being made included; as many exchanges again may wait for one.

    The idle connection used last is used next (LIFO), so the surplus of a burst ages and expires.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        loop: asyncio.AbstractEventLoop,
        ssl_context: ssl.SSLContext | None,
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
        max_head_bytes: int,
    ) -> None:
        self._owner = Owner(idle_seconds, self._give_back, self._forget, self._lost)
        self._origin = origin
        self._loop = loop
        self._ssl_context = ssl_context
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._max_head_bytes = max_head_bytes
        self._idle: list[UpstreamConnection] = []
        self._connections: set[UpstreamConnection] = set()
        self._connecting: dict[UpstreamExchange, asyncio.Task[None]] = {}
        self._waiting: dict[UpstreamExchange, asyncio.TimerHandle] = {}  # In order of arrival.
        self._emptied: asyncio.Future[None] | None = None

    @property
    def use(self) -> PoolUse:
        idle = len(self._idle)
        return PoolUse(len(self._connections) - idle, idle, len(self._connecting), len(self._waiting))

    def dispatch(self, exchange: UpstreamExchange) -> None:
        """Give the exchange a connection: at once, after connecting, or when one comes free."""
        if self._idle:
            self._idle.pop().start(exchange)
        else:
            self._dial(exchange)

    def withdraw(self, exchange: UpstreamExchange) -> None:
        """The exchange wants no connection any more."""
        timer = self._waiting.pop(exchange, None)
        if timer is not None:
            timer.cancel()
        task = self._connecting.get(exchange)
        if task is not None:
            task.cancel()

    def _give_back(self, connection: UpstreamConnection) -> None:
        """A connection has served its exchange and may serve another."""
        waiting = self._next_waiting() if self._waiting else None
        if waiting is not None:
            connection.start(waiting)
        elif len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.abort()

    def _forget(self, connection: UpstreamConnection) -> None:
        """The connection will close: no exchange gets it any more. Its place is free once it is `lost`."""
        if connection in self._idle:
            self._idle.remove(connection)

    def _lost(self, connection: UpstreamConnection, redial: UpstreamExchange | None) -> None:
        """The connection is closed; `redial` is the exchange that gets a fresh one in the place that is free now."""
        self._forget(connection)
        self._connections.discard(connection)
        if redial is not None:
            self._dial(redial)
        else:
            self._serve_waiting()

    async def close(self) -> None:
        """Abort everything; returns when no connection, task or timer is left."""
        for exchange in [*self._waiting, *self._connecting]:
            exchange.abort(ExchangeAborted("the transport was closed", dispatched=False))
        for connection in list(self._connections):
            connection.shut()
        while self._connections or self._connecting:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _dial(self, exchange: UpstreamExchange) -> None:
        if self._has_room():
            task = self._connecting[exchange] = self._loop.create_task(self._connect(exchange))
            task.add_done_callback(partial(self._dialled, exchange))  # Also for a task cancelled before it began.
        elif len(self._waiting) < self._max_connections:
            seconds = exchange.timeouts.connect
            self._waiting[exchange] = self._loop.call_later(seconds, self._give_up, exchange)
        else:
            exchange.fail(PoolExhausted(f"{self._max_connections} exchanges wait for a connection already"))

    async def _connect(self, exchange: UpstreamExchange) -> None:
        try:
            connection = await self._open(exchange)
        except TransportError as failure:
            exchange.fail(failure)
            return
        del self._connecting[exchange]  # Now, not in `_dialled`: counted twice, it would take a redial's place.
        self._connections.add(connection)
        connection.start(exchange)

    async def _open(self, exchange: UpstreamExchange) -> UpstreamConnection:
        origin = self._origin
        seconds = min(exchange.timeouts.connect, exchange.expires_at - self._loop.time())
        try:
            async with asyncio.timeout(seconds):
                connection = await dial(origin, self._ssl_context, self._make, self._loop)
        except TimeoutError:
            raise ConnectTimeout(f"no connection to {origin.key} within {seconds:.3g} s") from None
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"{origin.key}: {error}") from error
        if connection.closed:
            raise ConnectFailed(f"{origin.key} closed the connection before the request was sent")
        return connection

    def _make(self) -> UpstreamConnection:
        return UpstreamConnection(self._owner, self._loop, max_head_bytes=self._max_head_bytes)

    def _dialled(self, exchange: UpstreamExchange, task: asyncio.Task[None]) -> None:
        self._connecting.pop(exchange, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A mistake of ours, not the network's: tell the log, and do not let the exchange hang.
            self._loop.call_exception_handler({"message": "connecting failed", "exception": error, "task": task})
            exchange.fail(ConnectFailed(f"{self._origin.key}: {type(error).__name__}"))
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._has_room() and (exchange := self._next_waiting()) is not None:
            self._dial(exchange)
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _next_waiting(self) -> UpstreamExchange | None:
        for exchange, timer in self._waiting.items():
            timer.cancel()
            del self._waiting[exchange]
            return exchange
        return None

    def _give_up(self, exchange: UpstreamExchange) -> None:
        del self._waiting[exchange]
        seconds = exchange.timeouts.connect
        exchange.fail(PoolExhausted(f"all {self._max_connections} connections were busy for {seconds:g} s"))

    def _has_room(self) -> bool:
        return len(self._connections) + len(self._connecting) < self._max_connections
