"""
How reservations end in Redis, and what happens when Redis does not answer.

A settlement is one script: release what was reserved, add what was spent, put the usage event on the stream. The
command is written before anybody waits for it, so neither a hang-up nor a cancellation can stop it. When Redis is away,
or its answer never comes, the ending goes to the spool; replaying an ending that was executed after all changes nothing
in the ledger, because the event's id is the same.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from core.principal import Principal
from core.token_usage import CLASSES
from core.usage_event import UsageEvent
from gateway import metrics
from gateway.exposure import Exposure
from gateway.redis_pipeline import Argument, RedisAway, RedisPipeline, RedisReplyError, Reply
from gateway.spool import Spool

__all__ = ["Settlement", "Terms"]

log = logging.getLogger(__name__)

ALWAYS = "0"
"""Not the sweeper: end the reservation whether its lease has run out or not."""


@dataclass(slots=True, kw_only=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Terms:
    """A reservation as the scripts know it: its id, its period and the keys it lives under."""

    event_id: str
    period: str
    account: str
    key: str
    reservation: str
    leases: str
    stream: str


class Settlement:
    def __init__(self, pipeline: RedisPipeline, spool: Spool, exposure: Exposure, *, lease_ms: int) -> None:
        self._pipeline = pipeline
        self._spool = spool
        self._exposure = exposure
        self._lease_ms = lease_ms

    async def dispatch(self, terms: Terms, estimate: UsageEvent) -> None:
        """Leave an estimate with the reservation, for the case that this process dies before it ends.

        When this returns the estimate has left this process, or is on the disk while Redis is away: the request may be
        sent. Nobody waits for Redis to answer. Raises SpoolFailed when neither takes it.
        """
        try:
            self._pipeline.post("dispatch", (terms.reservation,), (estimate.encode(),))
        except RedisAway:
            await self.intend(terms, estimate)
        else:
            await asyncio.sleep(0)  # The pipeline writes at the end of the loop's turn.

    def intend(self, terms: Terms, estimate: UsageEvent) -> Awaitable[None]:
        """Put down on the disk what a request that is under way owes."""
        return self._spool.put_intent("settle", *_settle_call(terms, estimate))

    def renew(self, terms: Terms, estimate: UsageEvent) -> None:
        """Prolong the lease and note what has been delivered so far."""
        try:
            self._pipeline.post(
                "renew", (terms.reservation, terms.leases), (terms.event_id, self._lease_ms, estimate.encode())
            )
        except RedisAway:
            return

    def settle(
        self, terms: Terms, event: UsageEvent, principal: Principal, offline_cost: int | None
    ) -> Awaitable[None]:
        """`offline_cost` is what the exposure holds for a request that was admitted while Redis was away."""
        _count(event)
        if offline_cost is not None:
            self._exposure.correct(principal, offline_cost, event.cost)
        return self._end("settle", *_settle_call(terms, event))

    def release(self, terms: Terms, principal: Principal, offline_cost: int | None) -> Awaitable[None]:
        metrics.SETTLEMENTS.labels("released").inc()
        if offline_cost is not None:
            self._exposure.correct(principal, offline_cost, 0)
        keys = (terms.account, terms.key, terms.reservation, terms.leases)
        return self._end("release", keys, (terms.event_id, ALWAYS))

    def _end(self, script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> Awaitable[None]:
        self._spool.ended(str(arguments[0]))
        try:
            reply = self._pipeline.call(script, keys, arguments)
        except RedisAway:
            return self._spool.put(script, keys, arguments)
        return self._await(reply, script, keys, arguments)

    async def _await(
        self, reply: "asyncio.Future[Reply]", script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]
    ) -> None:
        try:
            _count_waived(await reply)
        except RedisAway:
            await self._spool.put(script, keys, arguments)
        except RedisReplyError as error:
            # Out of memory, a read-only replica: the ending waits in the spool until somebody has mended it.
            log.warning("redis refused an ending", extra={"script": script, "error": str(error)})
            await self._spool.put(script, keys, arguments)
        except asyncio.CancelledError:
            # The command is out, its answer unknown. Put down without waiting: the spool writes it in any case.
            self._spool.put(script, keys, arguments)
            raise


def _settle_call(terms: Terms, event: UsageEvent) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
    """Keys and arguments of the script `settle`."""
    keys = (terms.account, terms.key, terms.reservation, terms.leases, terms.stream)
    return keys, (terms.event_id, terms.period, event.cost, event.usage.total, event.encode(), ALWAYS)


def _count(event: UsageEvent) -> None:
    metrics.counter(metrics.SETTLEMENTS, event.outcome).inc()
    for name, count in zip(CLASSES, event.usage.as_tuple(), strict=True):
        if count:
            metrics.counter(metrics.TOKENS, event.model, name).inc(count)
    if event.estimated:
        metrics.ESTIMATED.labels(event.estimated).inc()


def _count_waived(reply: Reply) -> None:
    waived = reply[1] if isinstance(reply, list) else 0
    if isinstance(waived, int) and waived:
        metrics.WAIVED.inc(waived)
        log.warning("cost beyond a cap was waived", extra={"nano_usd": waived})
