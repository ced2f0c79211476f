"""
What Redis holds of Postgres: the limits of each scope, ordered by their revision, and its totals, ordered by a
version that grows with every change.

Redis may be behind for as long as a change or a batch is on its way. It is wrong when it stays behind (it came back
from an old dump) or when its total is ahead (Postgres was restored from a backup).
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
from redis.asyncio import Redis

from core.accounts.key_directory import KeyDirectory, server_epoch
from core.principal import AccountId
from core.redis.keys import ShardKeys
from core.redis.script_calls import Confirmation
from core.redis.script_runner import ScriptRunner
from metering.ledger.aggregates import WHOLE_ACCOUNT
from metering.ledger.scopes import CounterDifference, Scope, in_parts

__all__ = ["Published"]

ON_ITS_WAY_SECONDS = 0.5
"""A difference that lasts this long is one."""

SCOPES = """
    SELECT account_id, 0::bigint AS key_id, revision FROM accounts
    WHERE $1::bigint[] IS NULL OR account_id = ANY($1)
    UNION ALL
    SELECT account_id, key_id, revision FROM api_keys WHERE $1::bigint[] IS NULL OR account_id = ANY($1)
"""
TOTALS = """
    SELECT account_id, key_id, period, charged_nano_usd + parked_nano_usd, version FROM usage_periods
    WHERE period = ANY($1::date[]) AND ($2::bigint[] IS NULL OR account_id = ANY($2))
"""


@dataclass(frozen=True, slots=True)
class Versioned:
    value: int = 0
    version: int = 0


Place = tuple[Scope, date | None]
"""The total of a scope in a period, or (None) its limits, whose value is their revision."""
Held = dict[Place, Versioned]


class Published:
    def __init__(self, pool: asyncpg.Pool, redis: Redis, *, shard_count: int, shards: Collection[ShardKeys]) -> None:
        """`shards` are those that are compared."""
        self._pool = pool
        self._shards = frozenset(shards)
        self._redis = redis
        self._shard_count = shard_count
        self._directory = KeyDirectory(pool, redis, shard_count=shard_count)
        self._scripts = ScriptRunner(redis)

    async def scopes(self, accounts: Sequence[AccountId] | None) -> list[Scope]:
        return [scope for scope, _ in await self._revisions(accounts)]

    async def differences(
        self, accounts: Sequence[AccountId] | None, periods: Sequence[date]
    ) -> list[CounterDifference]:
        """What stays wrong for half a second."""
        before = await self._in_postgres(accounts, periods)
        stored = await self._in_redis({scope for scope, _ in before}, periods)
        suspects = {place[0] for place, held in stored.items() if _differs(place, held, before, before)}
        if not suspects:
            return []
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        stored = await self._in_redis(suspects, periods)
        after = await self._in_postgres(accounts, periods)
        return [
            _difference(place, held, after) for place, held in stored.items() if _differs(place, held, before, after)
        ]

    async def restore(self, accounts: Sequence[AccountId] | None, periods: Sequence[date]) -> list[CounterDifference]:
        """Write what Postgres says wherever Redis says otherwise. Harmless at any time and any number of times."""
        epoch = await server_epoch(self._redis)
        stored = await self._in_redis(await self.scopes(accounts), periods)
        # Read second: what Redis holds beyond this is no batch on its way.
        ledger = await self._in_postgres(accounts, periods)
        wrong = {place: held for place, held in stored.items() if _differs(place, held, ledger, ledger)}
        behind = {place for place, held in wrong.items() if place[1] and held.version < ledger[place].version}
        await self._raise_totals(behind, ledger)
        for scope, period in wrong:
            if (scope, period) not in behind:
                await self._publish(scope, period, epoch)
        await self._warm({scope for scope, _ in stored}, epoch)
        return [_difference(place, held, ledger) for place, held in wrong.items()]

    async def _in_postgres(self, accounts: Sequence[AccountId] | None, periods: Sequence[date]) -> Held:
        held: Held = {}
        for scope, revision in await self._revisions(accounts):
            held[scope, None] = Versioned(revision, revision)
            held |= {(scope, period): Versioned() for period in periods}
        for account, key, period, charged, version in await self._pool.fetch(TOTALS, periods, accounts):
            place = self._scope(account, key), period
            if place in held:
                held[place] = Versioned(charged, version)
        return held

    async def _revisions(self, accounts: Sequence[AccountId] | None) -> list[tuple[Scope, int]]:
        rows = await self._pool.fetch(SCOPES, accounts)
        found = [(self._scope(account, key), revision) for account, key, revision in rows]
        return [(scope, revision) for scope, revision in found if scope.shard in self._shards]

    async def _in_redis(self, scopes: Iterable[Scope], periods: Sequence[date]) -> Held:
        """Of the scopes that Redis knows. One that it does not know is read from Postgres when it is needed."""
        totals = [f"{kind}:{period}" for period in periods for kind in ("ledger", "ledger_version")]
        held: Held = {}
        for _, part in in_parts(scopes, lambda scope: scope):
            pipeline = self._redis.pipeline(transaction=False)
            for scope in part:
                pipeline.hmget(scope.name, ["status", "revision", "revision", *totals])
            answers: list[Any] = await pipeline.execute()
            for scope, (status, *values) in zip(part, answers, strict=True):
                numbers = iter([int(value or 0) for value in values])
                pairs = zip([None, *periods], zip(numbers, numbers, strict=True), strict=True)
                if status:
                    held |= {(scope, period): Versioned(*pair) for period, pair in pairs}
        return held

    async def _raise_totals(self, behind: Iterable[Place], ledger: Held) -> None:
        """Hundreds at once: after the loss of a Redis these are all accounts, and their caps wait for it."""
        for shard, part in in_parts(behind, lambda place: place[0]):
            raised = Confirmation(shard.usage_stream)
            for scope, period in part:
                raised.add_total(scope.name, str(period), ledger[scope, period].value, ledger[scope, period].version)
            await self._scripts.run(raised.call)

    async def _warm(self, scopes: Iterable[Scope], epoch: str) -> None:
        """What Postgres says has been written for this life of the server: the gateways may rely on it."""
        for _, part in in_parts(scopes, lambda scope: scope):
            pipeline = self._redis.pipeline(transaction=False)
            for scope in part:
                pipeline.hset(scope.name, "epoch", epoch)
            await pipeline.execute()

    async def _publish(self, scope: Scope, period: date | None, epoch: str) -> None:
        if scope.key_id == WHOLE_ACCOUNT:
            await self._directory.publish_account(scope.account_id, epoch=epoch, force_period=period)
        else:
            await self._directory.publish_key(scope.key_id, epoch=epoch, force_period=period)

    def _scope(self, account_id: AccountId, key_id: Any) -> Scope:
        return Scope(account_id, key_id, ShardKeys.of(account_id, self._shard_count))


def _differs(place: Place, stored: Versioned, before: Held, after: Held) -> bool:
    """Redis may lag behind `after`, never behind what Postgres held when a change needs no longer to be on its way."""
    if place not in before or place not in after:
        return False  # Created or deleted while we looked.
    if stored.version == after[place].version:
        return stored.value != after[place].value
    if place[1] is None:
        return stored.version < before[place].version  # Newer limits than ours are never overwritten.
    return stored.version < before[place].version or stored.version > after[place].version


def _difference(place: Place, stored: Versioned, expected: Held) -> CounterDifference:
    scope, period = place
    field = f"ledger:{period}" if period else "revision"
    return CounterDifference(scope.name, field, stored.value, expected[place].value)
