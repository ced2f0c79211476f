"""
How reservations end in Redis, and what happens when Redis does not answer.

A settlement is one script: release what was reserved, add what was spent, put the usage event on the stream. The
command is written before anybody waits for it, so neither a hang-up nor a cancellation can stop it. When Redis is away,
or its answer never comes, the ending goes to the spool; replaying an ending that was executed after all changes nothing
in the ledger, because the event's id is the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from core import script_calls
from core.lua_scripts import Call
from core.principal import Principal
from core.redis_keys import ReservationKeys
from core.token_usage import CLASSES
from core.usage_event import UsageEvent
from gateway import metrics
from gateway.exposure import Exposure
from gateway.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError, Reply
from gateway.spool import Spool

__all__ = ["Settlement"]

log = logging.getLogger(__name__)


class Settlement:
    def __init__(self, pipeline: RedisPipeline, spool: Spool, exposure: Exposure, *, lease_ms: int) -> None:
        self._pipeline = pipeline
        self._spool = spool
        self._exposure = exposure
        self._lease_ms = lease_ms

    @property
    def redis_connected(self) -> bool:
        return self._pipeline.connected

    def intend(self, keys: ReservationKeys, estimate: UsageEvent) -> Awaitable[None]:
        """Put down on the disk what a request that is under way owes."""
        call = script_calls.settle_event(keys, estimate)
        return self._spool.put_intent(call.script, call.keys, call.arguments)

    def renew(self, keys: ReservationKeys, estimate: UsageEvent, on_failure: Callable[[], None]) -> None:
        """Prolong the lease and note what has been delivered so far. `on_failure` is called when Redis refuses it (no
        memory) or has no such reservation: nothing there says then what the request owes."""
        try:
            reply = self._pipeline.call(script_calls.renew(keys, lease_ms=self._lease_ms, event=estimate.encode()))
        except RedisAway:
            return

        def look(renewed: "asyncio.Future[Reply]") -> None:
            error = renewed.exception()
            if isinstance(error, RedisReplyError) or (error is None and renewed.result() == 0):
                on_failure()

        reply.add_done_callback(look)

    def settle(
        self, keys: ReservationKeys, event: UsageEvent, principal: Principal, offline_cost: int | None
    ) -> Awaitable[None]:
        """`offline_cost` is what the exposure holds for a request that was admitted while Redis was away."""
        _count(event)
        if offline_cost is not None:
            self._exposure.correct(principal, offline_cost, event.cost)
        return self._end(keys, script_calls.settle_event(keys, event))

    def release(self, keys: ReservationKeys, principal: Principal, offline_cost: int | None) -> Awaitable[None]:
        metrics.SETTLEMENTS.labels("released").inc()
        if offline_cost is not None:
            self._exposure.correct(principal, offline_cost, 0)
        return self._end(keys, script_calls.release(keys))

    def _end(self, keys: ReservationKeys, call: Call) -> Awaitable[None]:
        self._spool.ended(keys.event_id)
        try:
            reply = self._pipeline.call(call)
        except RedisAway:
            return self._spool.put(call.script, call.keys, call.arguments)
        return self._await(reply, call)

    async def _await(self, reply: "asyncio.Future[Reply]", call: Call) -> None:
        try:
            _count_waived(await reply)
        except RedisAway:
            await self._spool.put(call.script, call.keys, call.arguments)
        except RedisReplyError as error:
            # Out of memory, a read-only replica: the ending waits in the spool until somebody has mended it.
            log.warning("redis refused an ending", extra={"script": call.script, "error": str(error)})
            await self._spool.put(call.script, call.keys, call.arguments)
        except asyncio.CancelledError:
            # The command is out, its answer unknown. Put down without waiting: the spool writes it in any case.
            self._spool.put(call.script, call.keys, call.arguments)
            raise


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
