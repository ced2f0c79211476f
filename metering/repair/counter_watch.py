"""
Keeps the counters in Redis equal to the ledger without a person.

A Redis that comes back may come back older (an old dump, a failover to a replica that lagged): its caps would let
through what was spent since. So a new server is rebuilt from at once, and every server is checked now and then.
"""

import logging
import time

from redis.asyncio import Redis

from core.accounts.key_directory import server_epoch
from metering.errors import StreamTooLong
from metering.metrics import COUNTER_DIFFERENCES, COUNTER_REBUILDS
from metering.repair.counters import CounterDifference, Counters

__all__ = ["CounterWatch"]

log = logging.getLogger(__name__)

MAX_LOGGED = 20


class CounterWatch:
    def __init__(self, redis: Redis, counters: Counters, *, check_seconds: float) -> None:
        self._redis = redis
        self._counters = counters
        self._check_seconds = check_seconds
        self._server = ""
        self._next_check = 0.0

    async def round(self) -> bool:
        """One look. Never has more to do at once."""
        server = await server_epoch(self._redis)
        try:
            await self._look(server)
        except StreamTooLong as error:  # The caps are right all the same: they are restored before anything is counted.
            log.info("the counters are checked when the consumers have caught up", extra={"reason": str(error)})
            self._wait_for(server)
        return False

    async def _look(self, server: str) -> None:
        if server != self._server:
            await self._rebuild()
            self._wait_for(server)  # Only now: a rebuild that failed is tried again.
        elif time.monotonic() >= self._next_check:
            differences = await self._counters.check()
            COUNTER_DIFFERENCES.set(len(differences))
            if differences:
                await self._rebuild()
            self._wait_for(server)

    def _wait_for(self, server: str) -> None:
        self._server = server
        self._next_check = time.monotonic() + self._check_seconds

    async def _rebuild(self) -> None:
        differences = await self._counters.rebuild()
        COUNTER_REBUILDS.inc()
        _log(differences)


def _log(differences: list[CounterDifference]) -> None:
    if differences:
        log.warning(
            "counters rebuilt from the ledger",
            extra={"differences": len(differences), "first": [str(item) for item in differences[:MAX_LOGGED]]},
        )
