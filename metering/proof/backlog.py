"""
What is on its way to the ledger and does not arrive: streams that are not read, and consumers that are far behind.

A stream outside the shards of this installation was written under a larger number of shards; it is never read.
"""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from core.redis.keys import ALL_USAGE_STREAMS, shards

__all__ = ["Backlog", "WaitingStream"]

KEYS_PER_SCAN = 1_000


@dataclass(frozen=True, slots=True)
class WaitingStream:
    name: str
    entries: int
    oldest_seconds: float
    read: bool
    """By the metering processes of this installation, if any of them runs."""

    def __str__(self) -> str:
        why = "metering does not run, or is behind" if self.read else "no shard of this installation reads it"
        return f"{self.name} holds {self.entries:,} events, the oldest for {self.oldest_seconds:.0f} s: {why}"


class Backlog:
    """`patience_seconds`: how long an event may wait before it counts as late."""

    def __init__(self, redis: Redis, *, shard_count: int, patience_seconds: float) -> None:
        self._redis = redis
        self._ours = {shard.usage_stream for shard in shards(shard_count)}
        self._patience_seconds = patience_seconds

    async def late(self) -> list[WaitingStream]:
        names = {name.decode() async for name in self._redis.scan_iter(ALL_USAGE_STREAMS, count=KEYS_PER_SCAN)}
        found = [await self._look(name) for name in sorted(names | self._ours)]
        return [
            stream
            for stream in found
            if stream.entries and (not stream.read or stream.oldest_seconds > self._patience_seconds)
        ]

    async def _look(self, name: str) -> WaitingStream:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(name)
        pipeline.xrange(name, count=1)
        pipeline.time()
        answers: list[Any] = await pipeline.execute()
        length, first, (seconds, _) = answers
        age = max(0.0, seconds - int(first[0][0].partition(b"-")[0]) / 1000) if first else 0.0
        return WaitingStream(name, length, age, name in self._ours)
