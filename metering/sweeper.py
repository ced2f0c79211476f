"""
Reservations whose gateway died: the lease ran out and nobody ended them.

Each is settled with the event that the gateway left at admission or with its last renewal, an estimate that says so.
(One that an older gateway has left without an event was never sent: it is released.) Both are the gateway's own
scripts, which look at the lease again: a gateway that renews or settles in this moment wins, and two sweepers end a
reservation once.
"""

import logging
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from core import script_calls
from core.failpoints import Failpoints
from core.lua_scripts import ScriptRunner
from core.redis_keys import ShardKeys
from core.usage_event import MalformedEvent, UsageEvent
from metering.metrics import SWEEPS

__all__ = ["Sweeper"]

log = logging.getLogger(__name__)

MOST_PER_ROUND = 200
"""Of each shard."""


class Sweeper:
    """Safe to run any number of times at once."""

    def __init__(self, redis: Redis, shards: Sequence[ShardKeys], failpoints: Failpoints) -> None:
        self._redis = redis
        self._shards = shards
        self._failpoints = failpoints
        self._scripts = ScriptRunner(redis)

    async def round(self) -> bool:
        """End what has expired. True when a shard may hold more."""
        more = False
        for shard in self._shards:
            seconds, microseconds = await self._redis.time()  # The leases are written by the server's clock.
            expired: Any = await self._redis.zrange(
                shard.leases, "-inf", seconds * 1000 + microseconds // 1000, byscore=True, offset=0, num=MOST_PER_ROUND
            )
            ended = [await self._sweep(shard, event_id) for event_id in expired]
            more = more or (len(expired) == MOST_PER_ROUND and any(ended))
        return more

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
        kind, (period, cost, tokens) = _charge(stored)
        self._failpoints.reach("sweeper_before_settle")
        settled = await self._scripts.run(
            script_calls.settle(
                keys, period=period, cost=cost, tokens=tokens, event=stored[b"event"], only_if_expired=True
            )
        )
        self._failpoints.reach("sweeper_after_settle")
        if settled and kind == "unreadable":
            log.error("swept a reservation whose event cannot be read", extra={"event_id": event_id})
        return await self._count(kind, settled)

    async def _count(self, kind: str, ended: object) -> bool:
        if ended:
            SWEEPS.labels(kind).inc()
            log.info("reservation swept", extra={"kind": kind})
        return bool(ended)


def _charge(stored: dict[bytes, bytes]) -> tuple[str, tuple[str, int, int]]:
    """Period, nano-dollars and tokens of the stored event. One that cannot be read costs nothing yet: it goes on the
    stream all the same, where the consumer parks it for a person."""
    try:
        event = UsageEvent.decode(stored[b"event"])
    except MalformedEvent:
        return "unreadable", (stored[b"period"].decode(), 0, 0)
    return "settled", (event.period.isoformat(), event.cost, event.usage.total)
