"""The door of the transport."""

import asyncio
import ssl

from gateway.outbound.errors import ExchangeAborted
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.origin import Origin
from gateway.outbound.pool import OriginPool, PoolUse
from gateway.outbound.timeouts import Timeouts
from gateway.outbound.tls import verified_context


class Transport:
    """
    Sends requests to upstreams over pooled HTTP/1.1 connections. Belongs to the event loop on which it is first used.

    `max_connections_per_origin` bounds the sockets, and as many requests again may wait for one. `idle_seconds` should
    be below what the upstreams allow an idle connection. `max_head_bytes` bounds a response head, interim ones
    included. `ssl_context` verifies https upstreams; without one, `verified_context()` is built at the first need.
    """

    def __init__(
        self,
        *,
        max_connections_per_origin: int = 1000,
        max_idle_per_origin: int = 100,
        idle_seconds: float = 30.0,
        max_head_bytes: int = 65536,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if max_connections_per_origin < 1 or max_head_bytes < 1:
            raise ValueError("max_connections_per_origin and max_head_bytes must be at least 1")
        if max_idle_per_origin < 0 or idle_seconds <= 0:
            raise ValueError("max_idle_per_origin must not be negative, idle_seconds must be above 0")
        self._max_connections = max_connections_per_origin
        self._max_idle = max_idle_per_origin
        self._idle_seconds = idle_seconds
        self._max_head_bytes = max_head_bytes
        self._ssl_context = ssl_context
        self._pools: dict[str, OriginPool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def send(self, origin: Origin, head: bytes, body: bytes, timeouts: Timeouts) -> UpstreamExchange:
        """
        Start a request and return at once; `await exchange.head()` waits for the answer.

        `head` comes from `request_head`; `content-length`, the blank line and `body` are added here. Never raises for
        the network's sake: the exchange does, when awaited. It can be aborted from the first moment, connecting
        included, and must be closed.
        """
        pool = self._pools.get(origin.key) or self._add_pool(origin)
        loop = self._loop or asyncio.get_running_loop()
        exchange = UpstreamExchange(pool.withdraw, loop, head, body, timeouts)
        if self._closed:
            exchange.fail(ExchangeAborted("the transport is closed", dispatched=False))
        else:
            pool.dispatch(exchange)
        return exchange

    def use(self, origin: Origin) -> PoolUse:
        """What the connections of an origin are doing right now."""
        pool = self._pools.get(origin.key)
        return pool.use if pool is not None else PoolUse()

    async def close(self) -> None:
        """Abort what is under way and close every connection; later requests fail with ExchangeAborted."""
        self._closed = True
        for pool in list(self._pools.values()):
            await pool.close()

    def _add_pool(self, origin: Origin) -> OriginPool:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if origin.secure and self._ssl_context is None:
            self._ssl_context = verified_context()
        pool = self._pools[origin.key] = OriginPool(
            origin,
            loop=self._loop,
            ssl_context=self._ssl_context if origin.secure else None,
            max_connections=self._max_connections,
            max_idle=self._max_idle,
            idle_seconds=self._idle_seconds,
            max_head_bytes=self._max_head_bytes,
        )
        return pool
