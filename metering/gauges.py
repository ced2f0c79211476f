"""How far behind the ledger is, read from Redis and Postgres every few seconds."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from core.redis.keys import CONSUMER_GROUP, ShardKeys
from metering.ingest.dead_letters import DeadLetters
from metering.ledger.partitions import Partitions
from metering.metrics import (
    DEAD_LETTERS,
    DEAD_LETTERS_CHARGED,
    NAMELESS_DEAD_LETTERS,
    OLDEST_ENTRY_SECONDS,
    PARTITIONS_AHEAD,
    STREAM_LENGTH,
    STREAM_PENDING,
)

__all__ = ["Gauges"]


class Gauges:
    def __init__(
        self,
        redis: Redis,
        shards: Sequence[ShardKeys],
        dead_letters: DeadLetters,
        partitions: Partitions,
        now: Callable[[], datetime],
    ) -> None:
        self._redis = redis
        self._shards = shards
        self._dead_letters = dead_letters
        self._partitions = partitions
        self._now = now

    async def round(self) -> bool:
        """One look. Never has more to do at once."""
        await self._look_at_streams()
        await self._look_at_dead_letters()
        PARTITIONS_AHEAD.set(await self._partitions.ahead(self._now().date()))
        return False

    async def _look_at_dead_letters(self) -> None:
        waiting = await self._dead_letters.waiting()
        DEAD_LETTERS.set(waiting.letters)
        DEAD_LETTERS_CHARGED.set(waiting.charged)
        NAMELESS_DEAD_LETTERS.set(waiting.nameless)

    async def _look_at_streams(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in self._shards:
            pipeline.xlen(shard.usage_stream)
            pipeline.xrange(shard.usage_stream, count=1)
            pipeline.xpending(shard.usage_stream, CONSUMER_GROUP)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        first_ids = [entries[0][0] for entries in answers[1::3] if entries and not isinstance(entries, Exception)]
        STREAM_LENGTH.set(sum(_number(length) for length in answers[0::3]))
        STREAM_PENDING.set(sum(_number(summary) for summary in answers[2::3]))
        now_ms = self._now().timestamp() * 1000
        OLDEST_ENTRY_SECONDS.set(max((_age(now_ms, first) for first in first_ids), default=0.0))


def _number(answer: Any) -> int:
    """A stream without a group has nothing pending; every other error counts as one."""
    if isinstance(answer, ResponseError):
        return 0
    if isinstance(answer, Exception):
        raise answer
    return int(answer["pending"] if isinstance(answer, dict) else answer)


def _age(now_ms: float, entry_id: bytes) -> float:
    """Seconds since the entry was added: an id begins with the server's clock in milliseconds."""
    return max(0.0, (now_ms - int(entry_id.partition(b"-")[0])) / 1000)
