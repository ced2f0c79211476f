"""
The counters in Redis against what they are a cache of.

    ledger:<period>, limits   Postgres (`published`)
    pending:<period>          the entries in the usage stream (`counted`)
    reserved, in_flight       the live reservations (`counted`)

`check` reads, `rebuild` sets what differs: never by adding, so any number of rebuilds at once leave the same values.

While a script runs Redis does nothing else, so none counts: streams and leases are read in slices, once for a
whole shard. What is counted that way is true of a scope that nothing has touched meanwhile: its hash reads the same
before and after. The others are looked at again, and a difference has to be found twice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

import asyncpg
from redis.asyncio import Redis

from core.principal import AccountId
from core.redis import script_calls
from core.redis.keys import ShardKeys, shards
from core.redis.script_calls import CounterChange
from core.redis.script_runner import ScriptRunner
from core.usage.billing_period import billing_period
from metering.ledger.scopes import CounterDifference
from metering.repair.counted import outdated
from metering.repair.published import Published
from metering.repair.shard_reader import Fields, ShardReader, slices

__all__ = ["CounterDifference", "Counters"]

MAX_STREAM_LENGTH = 100_000
"""Entries of one shard: some seconds of reading."""
MAX_PASSES = 6
"""A scope that is not at rest in any of so many is left for the next check."""
PAUSE_SECONDS = 0.05


class Counters:
    """Those of some shards, or of all. Raises what Postgres and Redis raise, and StreamTooLong while the consumers are
    far behind."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        *,
        shard_count: int,
        now: Callable[[], datetime],
        only: Sequence[ShardKeys] | None = None,
        max_stream_length: int = MAX_STREAM_LENGTH,
    ) -> None:
        self._redis = redis
        self._now = now
        self._max_stream_length = max_stream_length
        self._shards = shards(shard_count) if only is None else only
        self._published = Published(pool, redis, shard_count=shard_count, shards=self._shards)
        self._scripts = ScriptRunner(redis)

    async def check(self, accounts: Sequence[AccountId] | None = None) -> list[CounterDifference]:
        """What differs, for some accounts or for all. Right under load as well."""
        differences = await self._published.differences(accounts, self._periods())
        return differences + await self._compare(accounts, write=False)

    async def rebuild(self, accounts: Sequence[AccountId] | None = None) -> list[CounterDifference]:
        """Set what differs, remove the fields of periods that are over, and say what was wrong.

        The caps first: they hold again even where the stream is too long to be counted."""
        differences = await self._published.restore(accounts, self._periods())
        return differences + await self._compare(accounts, write=True)

    async def _compare(self, accounts: Sequence[AccountId] | None, *, write: bool) -> list[CounterDifference]:
        by_shard: dict[ShardKeys, list[str]] = {shard: [] for shard in self._shards}
        for scope in await self._published.scopes(accounts):
            by_shard[scope.shard].append(scope.name)
        differences = []
        for shard, scopes in by_shard.items():
            differences += await self._compare_shard(shard, scopes, write=write)
        return differences

    async def _compare_shard(self, shard: ShardKeys, scopes: list[str], *, write: bool) -> list[CounterDifference]:
        reader = ShardReader(self._redis, shard, max_stream_length=self._max_stream_length)
        found: list[CounterDifference] = []
        suspected: dict[str, list[tuple[str, int]]] = {}
        for number in range(MAX_PASSES):
            if not scopes:
                break
            if number:
                await asyncio.sleep(PAUSE_SECONDS)
            before = await reader.fields(scopes)
            counted = await reader.count()
            after = await reader.fields(scopes)
            done: dict[str, list[CounterDifference]] = {}
            for scope in (scope for scope in scopes if before[scope] == after[scope]):
                differences = counted.differences(scope, after[scope])
                excess = [(item.field, item.stored - item.expected) for item in differences]
                if not differences or suspected.get(scope) == excess:
                    done[scope] = differences
                suspected[scope] = excess
            found += [item for differences in done.values() for item in differences]
            if write:
                await self._write(done, after)
            scopes = [scope for scope in scopes if scope not in done]
        return found

    async def _write(self, differences: Mapping[str, list[CounterDifference]], seen: Mapping[str, Fields]) -> None:
        """What has changed since it was seen is left for the next time."""
        oldest = self._periods()[-1].isoformat()
        changes: list[CounterChange] = []
        for scope, of_scope in differences.items():
            stored = seen[scope]
            changes += [
                CounterChange(scope, one.field, stored.get(one.field, ""), str(one.expected)) for one in of_scope
            ]
            changes += [CounterChange(scope, field, stored[field], "") for field in outdated(stored, oldest)]
        for part in slices(changes):
            await self._scripts.run(script_calls.rebuild(part))

    def _periods(self) -> list[date]:
        """The running one and the one before, for which events may still arrive."""
        current = billing_period(self._now())
        return [current, (current - timedelta(days=1)).replace(day=1)]
