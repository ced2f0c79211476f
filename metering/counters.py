"""
The counters in Redis against what they are a cache of.

    ledger:<period>, limits   Postgres (`published`)
    pending:<period>          the entries in the usage stream
    reserved, in_flight       the live reservations

`check` reads, `rebuild` sets what differs: never by adding, so any number of rebuilds at once leave the same values.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import asyncpg
from redis.asyncio import Redis

from core import script_calls
from core.billing_period import billing_period
from core.lua_scripts import ScriptRunner
from core.principal import AccountId
from metering.errors import StreamTooLong
from metering.published import Published
from metering.scopes import CounterDifference, in_parts

__all__ = ["CounterDifference", "Counters"]

LONGEST_STREAM = 10_000
"""Entries of one shard. Redis serves nobody while it counts them: some 8 ms per 1,000."""


class Counters:
    """Raises what Postgres and Redis raise, and StreamTooLong while the consumers are far behind."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        *,
        shard_count: int,
        now: Callable[[], datetime],
        longest_stream: int = LONGEST_STREAM,
    ) -> None:
        self._now = now
        self._longest_stream = longest_stream
        self._published = Published(pool, redis, shard_count=shard_count)
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
        oldest = self._periods()[-1].isoformat()
        differences = []
        for shard, part in in_parts(await self._published.scopes(accounts), lambda scope: scope):
            answer = await self._scripts.run(
                script_calls.rebuild(
                    shard,
                    {scope.name: scope.identity for scope in part},
                    write=write,
                    longest_stream=self._longest_stream,
                    oldest_period=oldest,
                )
            )
            if answer[0] == b"too long":
                raise StreamTooLong(shard.usage_stream, answer[1], self._longest_stream)
            values = iter([value.decode() for value in answer[1:]])
            differences += [
                CounterDifference(name, field, int(stored), int(expected))
                for name, field, stored, expected in zip(values, values, values, values, strict=True)
            ]
        return differences

    def _periods(self) -> list[date]:
        """The running one and the one before, for which events may still arrive."""
        current = billing_period(self._now())
        return [current, (current - timedelta(days=1)).replace(day=1)]
