"""
How reservations end in Redis, and what happens when Redis does not answer.

A settlement is one script: release what was reserved, add what was spent, put the usage event on the stream. The
command is written before anybody waits for it, so neither a hang-up nor a cancellation can stop it. When Redis is away,
or its answer never comes, the settlement goes to the spool; replaying a settlement that was executed after all changes
nothing in the ledger, because the event's id is the same. What Redis acknowledged a moment before it was lost is sent
again for the same price (`recent_settlements`).

A release records nothing where that is enough: Redis has admitted the request with an answer, on a connection that has
not been lost since, and still has the reservation. In all other cases there may be an estimate somewhere: one that the
sweeper recorded, an intent on the disk, a reservation in a Redis that comes back older. Then a *void* event, without
usage, is settled: it frees the reservation as well, and takes the place of every estimate in the ledger.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from core.principal import Principal
from core.redis import script_calls
from core.redis.keys import ReservationKeys
from core.redis.lua_scripts import Call
from core.usage.token_usage import CLASSES
from core.usage.usage_event import UsageEvent
from gateway.accounting.charge import is_contradiction
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.records import metrics
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.record import Record
from gateway.spool.spool import Spool
from gateway.store.cold_scopes import COLD, ColdScopes
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError, Reply

__all__ = ["Settlement"]

log = logging.getLogger(__name__)


class Settlement:
    def __init__(
        self,
        pipeline: RedisPipeline,
        spool: Spool,
        recent: RecentSettlements,
        cold_scopes: ColdScopes,
        allowance: OfflineAllowance,
        *,
        lease_ms: int,
    ) -> None:
        self._pipeline = pipeline
        self._spool = spool
        self._recent = recent
        self._cold_scopes = cold_scopes
        self._allowance = allowance
        self._lease_ms = lease_ms

    @property
    def connection_number(self) -> int:
        """Of the connection to Redis; 0 while there is none."""
        return self._pipeline.connection_number

    def redis_lost(self) -> None:
        """What it acknowledged last, it may have forgotten when it comes back."""
        self._spool.put_all(self._recent.take())

    def write_intent(self, estimate: UsageEvent) -> Awaitable[None]:
        """Write to the disk what a request that is under way owes. On the disk when the result has been awaited,
        which raises SpoolFailed when it refuses."""
        return self._spool.put_intent(estimate)

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
        """`offline_cost` is what the allowance holds for a request that was admitted while Redis was away."""
        _count(event)
        if offline_cost is not None:
            self._allowance.correct(principal, offline_cost, event.cost)
        return self._end(keys, Record(event))

    def release(
        self, keys: ReservationKeys, void: UsageEvent, principal: Principal, offline_cost: int | None, *, in_doubt: bool
    ) -> Awaitable[None]:
        """`in_doubt`: something else may have been recorded, or may be later. `void` takes its place."""
        metrics.counter(metrics.SETTLEMENTS, void.outcome).inc()
        if offline_cost is not None:
            self._allowance.correct(principal, offline_cost, 0)
        return self._end(keys, Record(void), by_release=not in_doubt)

    def give_back(self, void: UsageEvent) -> None:
        """Redis may hold a reservation whose request was not served. Nothing waits for this: `void` takes care that the
        estimate, if there is one, is never charged."""
        self._spool.put(Record(void))

    def _end(self, keys: ReservationKeys, record: Record, *, by_release: bool = False) -> Awaitable[None]:
        call = script_calls.release(keys) if by_release else self._settle(keys, record)
        try:
            reply = self._pipeline.call(call)
        except RedisAway:
            return self._spool.put(record)
        return self._await(reply, keys, record, by_release=by_release)

    def _settle(self, keys: ReservationKeys, record: Record) -> Call:
        return script_calls.settle_event(keys, record.event, epoch=self._pipeline.epoch)

    async def _await(
        self, reply: "asyncio.Future[Reply]", keys: ReservationKeys, record: Record, *, by_release: bool
    ) -> None:
        try:
            answer = await reply
            if by_release and answer == 0:  # Somebody else has ended it, with an estimate.
                answer = await self._pipeline.call(self._settle(keys, record))
            if answer == COLD:
                self.redis_lost()  # It may have been emptied, on this very connection.
                answer = await self._cold_scopes.settle(keys, record.event)
        except RedisAway:
            await self._spool.put(record)
        except RedisReplyError as error:
            # Out of memory, a read-only replica: the settlement waits in the spool until Redis is repaired.
            log.warning("redis refused a settlement", extra={"outcome": record.event.outcome, "error": str(error)})
            await self._spool.put(record)
        except asyncio.CancelledError:
            # The command is out, its answer unknown. Written without waiting: the spool writes it in any case.
            self._spool.put(record)
            raise
        else:
            self._spool.ended(keys.event_id)
            self._recent.add(record)
            _count_waived(answer)


def _count(event: UsageEvent) -> None:
    metrics.counter(metrics.SETTLEMENTS, event.outcome).inc()
    for name, count in zip(CLASSES, event.usage.as_tuple(), strict=True):
        if count:
            metrics.counter(metrics.TOKENS, event.model, name).inc(count)
    if event.estimated:
        metrics.ESTIMATED.labels(event.estimated).inc()
        if is_contradiction(event.estimated):
            metrics.FLAWED_REPORTS.inc()


def _count_waived(reply: Reply) -> None:
    waived = reply[1] if isinstance(reply, list) else 0
    if isinstance(waived, int) and waived:
        metrics.WAIVED.inc(waived)
        log.warning("cost beyond a cap was waived", extra={"nano_usd": waived})
