"""
The settlements that Redis acknowledged in the last seconds, in case it forgets them.

With `appendfsync everysec` Redis answers before the command is in the append-only file: usually by a moment, while the
disk stalls by up to two seconds. A Redis that is killed then, or a replica that takes over, has lost what it confirmed.
So these settlements are kept, and when the connection is lost they go to the spool: the ledger ignores those it has.
"""

from collections import deque

from gateway.spool.record import Record
from gateway.store.redis_pipeline import RedisPipeline

__all__ = ["RecentSettlements"]

KEEP_SECONDS = 3.0
MAX_KEPT = 50_000
"""Three seconds of one process, several times over."""


class RecentSettlements:
    def __init__(self, pipeline: RedisPipeline) -> None:
        self._pipeline = pipeline
        self._kept: deque[tuple[float, Record]] = deque(maxlen=MAX_KEPT)

    def add(self, record: Record) -> None:
        """Redis has just acknowledged it."""
        now = self._pipeline.answered_at
        kept = self._kept
        kept.append((now, record))
        while kept[0][0] < now - KEEP_SECONDS:
            kept.popleft()

    def take(self) -> list[Record]:
        """Those of the last seconds before the last answer of Redis, oldest first. They are no longer kept here."""
        since = self._pipeline.answered_at - KEEP_SECONDS
        taken = [record for answered_at, record in self._kept if answered_at >= since]
        self._kept.clear()
        return taken
