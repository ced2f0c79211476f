"""
Reads a shard of Redis as a whole, a few hundred things at a time: no call holds Redis up for longer than some half a
millisecond. What it returns was not all true at one moment; whoever needs that has to look twice.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from redis.asyncio import Redis

from core.redis.keys import ShardKeys
from metering.errors import StreamTooLong
from metering.ledger.entries import Entry
from metering.repair.counted import Counted

__all__ = ["Fields", "ShardReader", "slices"]

SLICE = 500

Fields = dict[str, str]


class ShardReader:
    def __init__(self, redis: Redis, shard: ShardKeys, *, max_stream_length: int) -> None:
        self._redis = redis
        self._shard = shard
        self._max_stream_length = max_stream_length

    async def fields(self, scopes: Sequence[str]) -> dict[str, Fields]:
        """What the hashes of these scopes hold."""
        found = {}
        for part in slices(scopes):
            pipeline = self._redis.pipeline(transaction=False)
            for scope in part:
                pipeline.hgetall(scope)
            answers: list[Any] = await pipeline.execute()
            for scope, stored in zip(part, answers, strict=True):
                found[scope] = {name.decode(): value.decode() for name, value in stored.items()}
        return found

    async def count(self) -> Counted:
        """The sums of the stream and of the live reservations. Raises StreamTooLong."""
        length = await self._redis.xlen(self._shard.usage_stream)
        if length > self._max_stream_length:
            raise StreamTooLong(self._shard.usage_stream, length, self._max_stream_length)
        counted = Counted()
        await self._count_stream(counted)
        await self._count_reservations(counted)
        return counted

    async def _count_stream(self, counted: Counted) -> None:
        after = "-"
        while True:
            entries: Any = await self._redis.xrange(self._shard.usage_stream, min=after, count=SLICE)
            for entry_id, fields in entries:
                counted.add_entry(Entry(self._shard, entry_id, fields))
            if len(entries) < SLICE:
                return
            after = f"({entries[-1][0].decode()}"

    async def _count_reservations(self, counted: Counted) -> None:
        # ZSCAN gives every lease that is there from the beginning to the end, whatever comes and goes; some twice.
        leases = {event_id async for event_id, _ in self._redis.zscan_iter(self._shard.leases, count=SLICE)}
        for part in slices(list(leases)):
            pipeline = self._redis.pipeline(transaction=False)
            for event_id in part:
                pipeline.hmget(self._shard.reservations + event_id.decode(), ["cost", "account", "key"])
            for cost, account, key in await pipeline.execute():
                if cost is not None:
                    counted.add_reservation(int(cost), account.decode(), key.decode())


def slices(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]
