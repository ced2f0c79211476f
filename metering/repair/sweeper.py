"""
Reservations whose gateway died: the lease ran out before they were ended.

A lease that has run out proves little: Redis' clock may have been set forward, or the gateway was cut off for a moment.
So the sweeper looks twice. Only what was not prolonged between two looks, some seconds of its own steady clock
apart, is ended: a living gateway prolongs each of its reservations in that time.

A lease that runs out in the far future was written by a clock that has been set back since. It is made to run out now:
a living gateway prolongs it as any other, the reservation of a dead one would be held for as long as the step was.

It is settled with the event that the gateway left at admission or with its last renewal, an estimate that says so.
(One that an older gateway has left without an event was never sent: it is released.) Both are the gateway's own
scripts, which look at the lease again: a gateway that renews or settles in this moment wins, and two sweepers end a
reservation once. A gateway that settles later replaces the estimate (`ledger`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from redis.asyncio import Redis

from core.accounts.key_directory import server_epoch
from core.process.failpoints import Failpoints
from core.redis import script_calls
from core.redis.keys import ShardKeys
from core.redis.script_runner import ScriptRunner
from core.usage.usage_event import MalformedEvent, UsageEvent, read_claim, with_period
from metering.metrics import SWEEPS
from metering.repair.suspects import Suspects

__all__ = ["Sweeper"]

log = logging.getLogger(__name__)

MAX_ENDED_PER_ROUND = 200
"""Of each shard."""
COLD = b"cold"
"""What `settle` answers when the scopes were not published for this life of Redis."""
MAX_SUSPECTS = 2_000
"""Of each shard: the others follow when these have been ended."""
FARTHEST_LEASE_MS = 900_000
"""No gateway asks for half as much."""


class Sweeper:
    """Safe to run any number of times at once. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        redis: Redis,
        shards: Sequence[ShardKeys],
        failpoints: Failpoints,
        *,
        confirm_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._suspects = {shard: Suspects(confirm_seconds) for shard in shards}
        self._failpoints = failpoints
        self._clock = clock
        self._scripts = ScriptRunner(redis)

    async def round(self) -> bool:
        """Look at what has expired and end what had expired long before. True when a shard may hold more."""
        more = False
        for shard, suspects in self._suspects.items():
            seconds, microseconds = await self._redis.time()  # The leases are written by the server's clock.
            now = seconds * 1000 + microseconds // 1000
            if too_far := await self._leases(shard, now + FARTHEST_LEASE_MS, "+inf"):
                run_out = {event_id: seconds * 1000 for event_id, _ in too_far}
                await self._redis.zadd(shard.leases, run_out, xx=True, lt=True)
            expired = await self._leases(shard, "-inf", now)
            confirmed = suspects.look(expired, self._clock())
            ended = [await self._sweep(shard, event_id) for event_id in islice(confirmed, MAX_ENDED_PER_ROUND)]
            more = more or (len(confirmed) >= MAX_ENDED_PER_ROUND and any(ended))
        return more

    async def _leases(self, shard: ShardKeys, first: float | str, last: float | str) -> list[tuple[bytes, float]]:
        """Some of those that run out in this time, in milliseconds by the server's clock: ids and deadlines."""
        found: Any = await self._redis.zrange(
            shard.leases, first, last, byscore=True, offset=0, num=MAX_SUSPECTS, withscores=True
        )
        return list(found)

    async def _sweep(self, shard: ShardKeys, event_id: bytes) -> bool:
        """False when somebody else was faster."""
        reservation = shard.reservations + event_id.decode()
        stored: dict[Any, Any] = await self._redis.hgetall(reservation)
        if not stored:
            # Settled between our two reads, or its hash is lost: an id without a reservation reserves nothing.
            return await self._count("orphan", await self._redis.zrem(shard.leases, event_id))
        keys = shard.reserved(stored[b"account"].decode(), stored[b"key"].decode(), event_id.decode())
        if b"event" not in stored:
            released = await self._scripts.run(script_calls.release(keys, only_if_expired=True))
            return await self._count("released", released)
        period = stored[b"period"].decode()
        event = with_period(stored[b"event"], period)  # The reservation was taken from this period.
        kind, cost, tokens = _charge(event)
        self._failpoints.reach("sweeper_before_settle")
        epoch = await server_epoch(self._redis)
        settled = await self._scripts.run(
            script_calls.settle(
                keys, period=period, cost=cost, tokens=tokens, event=event, only_if_expired=True, epoch=epoch
            )
        )
        self._failpoints.reach("sweeper_after_settle")
        if settled == COLD:
            return False  # Redis has restarted: first `counter_watch` has to tell it what was spent.
        if settled and kind == "unreadable":
            log.error("swept a reservation whose event cannot be read", extra={"event_id": event_id})
        return await self._count(kind, settled)

    async def _count(self, kind: str, ended: object) -> bool:
        if ended:
            SWEEPS.labels(kind).inc()
            log.info("reservation swept", extra={"kind": kind})
        return bool(ended)


def _charge(wire: bytes) -> tuple[str, int, int]:
    """Kind, nano-dollars and tokens of the stored event. One of a version that we do not know says what is owed all the
    same; the consumer parks it until we do."""
    try:
        event = UsageEvent.decode(wire)
    except MalformedEvent:
        claim = read_claim(wire)
        return "unreadable", claim.owed if claim else 0, 0
    return "settled", event.amount_owed, event.usage.total
