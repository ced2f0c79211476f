"""
What a client's hang-up does to the upstream that is answering it: `cancel` stops it at once, `drain` lets it go on to
its usage record, for a bounded time and for a bounded number of answers. An upstream that has not been sent anything is
stopped in any case.
"""

import asyncio

from gateway.errors import ClientGone
from gateway.inbound.exchange import Exchange
from gateway.outbound.exchange import UpstreamExchange
from gateway.records import metrics

__all__ = ["ClientDisconnects"]


class ClientDisconnects:
    """`max_drains` 0 means: always cancel."""

    def __init__(self, *, max_drains: int, drain_seconds: float) -> None:
        self._max_drains = max_drains
        self._drain_seconds = drain_seconds
        self._draining: dict[UpstreamExchange, asyncio.TimerHandle] = {}

    def watch(self, client: Exchange, upstream: UpstreamExchange) -> None:
        """From now on the client's hang-up ends the upstream's exchange, sooner or later."""
        client.on_hang_up(lambda: self._hung_up(upstream))

    def ended(self, client: Exchange, upstream: UpstreamExchange) -> None:
        """The exchange is over: its place is free for another client's."""
        client.on_hang_up(None)
        timer = self._draining.pop(upstream, None)
        if timer is not None:
            timer.cancel()

    def _hung_up(self, upstream: UpstreamExchange) -> None:
        metrics.CLIENT_HANG_UPS.inc()
        if len(self._draining) >= self._max_drains or not upstream.dispatched:
            upstream.abort(ClientGone())
            return
        loop = asyncio.get_running_loop()
        self._draining[upstream] = loop.call_later(self._drain_seconds, upstream.abort, ClientGone())
