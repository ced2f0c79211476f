"""
What a client's hang-up does to the upstream that is answering it: `cancel` stops it at once, `drain` lets it go on to
its usage record, for a bounded time and for a bounded number of answers.
"""

import asyncio

from gateway import metrics
from gateway.exchange import ClientGone, Exchange
from gateway.transport.exchange import Exchange as UpstreamExchange

__all__ = ["HangUps"]


class HangUps:
    """`most_drains` 0 means: always cancel."""

    def __init__(self, *, most_drains: int, drain_seconds: float) -> None:
        self._most_drains = most_drains
        self._drain_seconds = drain_seconds
        self._drains = 0

    def watch(self, client: Exchange, upstream: UpstreamExchange) -> None:
        """From now on the client's hang-up ends the upstream's exchange, sooner or later."""
        client.on_hang_up(lambda: self._hung_up(upstream))

    def _hung_up(self, upstream: UpstreamExchange) -> None:
        metrics.CLIENT_HANG_UPS.inc()
        if self._drains >= self._most_drains:
            upstream.abort(ClientGone())
            return
        self._drains += 1
        asyncio.get_running_loop().call_later(self._drain_seconds, self._drained, upstream)

    def _drained(self, upstream: UpstreamExchange) -> None:
        self._drains -= 1
        upstream.abort(ClientGone())  # Without effect on an exchange that has been closed.
