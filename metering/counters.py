"""
The counters in Redis against what they are a cache of.

    ledger:<period>          the total in Postgres
    pending:<period>         the entries in the usage stream
    reserved, in_flight      the live reservations

`check` reads, `rebuild` sets what differs: never by adding, so any number of rebuilds at once leave the same values.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice

import asyncpg
from redis.asyncio import Redis

from core.billing_period import billing_period
from core.key_directory import KeyDirectory
from core.lua_scripts import load_script
from core.principal import AccountId, KeyId
from core.redis_keys import ShardKeys
from metering.errors import StreamTooLong
from metering.ledger import WHOLE_ACCOUNT

__all__ = ["CounterDifference", "Counters"]

LONGEST_STREAM = 10_000
"""Entries of one shard. Redis serves nobody while it counts them: some 8 ms per 1,000."""
SCOPES_PER_CALL = 500
CONFIRM_SECONDS = 0.5
"""Between a commit and its confirmation Redis is behind the ledger: a difference that lasts this long is one."""

SCOPES = """
    SELECT account_id, 0::bigint AS key_id FROM accounts WHERE $1::bigint[] IS NULL OR account_id = ANY($1)
    UNION ALL SELECT account_id, key_id FROM api_keys WHERE $1::bigint[] IS NULL OR account_id = ANY($1)
"""
TOTALS = """
    SELECT account_id, key_id, period, charged_nano_usd, requests FROM usage_periods
    WHERE period = ANY($1::date[]) AND ($2::bigint[] IS NULL OR account_id = ANY($2))
"""


@dataclass(frozen=True, slots=True)
class CounterDifference:
    scope: str
    field: str
    stored: int
    expected: int

    def __str__(self) -> str:
        return f"{self.scope} {self.field} is {self.stored}, should be {self.expected}"


@dataclass(frozen=True, slots=True)
class Scope:
    """An account (`key_id` 0) or a key of it."""

    account_id: AccountId
    key_id: KeyId
    shard: ShardKeys

    @property
    def name(self) -> str:
        if self.key_id == WHOLE_ACCOUNT:
            return self.shard.account(self.account_id)
        return self.shard.key(self.key_id)

    @property
    def identity(self) -> str:
        return f"account:{self.account_id}" if self.key_id == WHOLE_ACCOUNT else f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Total:
    charged: int = 0
    version: int = 0


Totals = dict[tuple[Scope, date], Total]


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
        self._pool = pool
        self._redis = redis
        self._shard_count = shard_count
        self._now = now
        self._longest_stream = longest_stream
        self._directory = KeyDirectory(pool, redis, shard_count=shard_count)
        self._rebuild = redis.register_script(load_script("rebuild").text)

    async def check(self, accounts: Sequence[AccountId] | None = None) -> list[CounterDifference]:
        """What differs, for some accounts or for all. Right under load as well."""
        scopes = await self._scopes(accounts)
        differences = await self._compare(scopes, write=False)
        return differences + await self._ledger_differences(scopes, accounts)

    async def rebuild(self, accounts: Sequence[AccountId] | None = None) -> list[CounterDifference]:
        """Set what differs, remove the fields of periods that are over, and say what was wrong."""
        scopes = await self._scopes(accounts)
        stored = await self._stored_totals(scopes)
        ledger = await self._ledger_totals(scopes, accounts)
        differences = []
        for (scope, period), total in stored.items():
            expected = ledger.get((scope, period), Total())
            if total != expected:
                # Redis was read first, so a version ahead of the ledger's is no race: the database was restored.
                await self._publish(scope, period, force=total.version > expected.version)
                differences.append(_difference(scope, period, total, expected))
        return differences + await self._compare(scopes, write=True)

    async def _scopes(self, accounts: Sequence[AccountId] | None) -> list[Scope]:
        rows = await self._pool.fetch(SCOPES, accounts)
        return [Scope(account, key, ShardKeys.of(account, self._shard_count)) for account, key in rows]

    async def _compare(self, scopes: list[Scope], *, write: bool) -> list[CounterDifference]:
        oldest = self._periods()[-1].isoformat()
        differences = []
        for shard, part in _parts(scopes):
            answer = await self._rebuild(
                keys=[shard.usage_stream, shard.leases, *(scope.name for scope in part)],
                args=[
                    int(write),
                    shard.reservations,
                    self._longest_stream,
                    oldest,
                    *(scope.identity for scope in part),
                ],
            )
            if answer[0] == b"too long":
                raise StreamTooLong(shard.usage_stream, answer[1], self._longest_stream)
            parts = iter([value.decode() for value in answer[1:]])
            differences += [
                CounterDifference(name, field, int(stored), int(expected))
                for name, field, stored, expected in zip(parts, parts, parts, parts, strict=True)
            ]
        return differences

    async def _ledger_differences(
        self, scopes: list[Scope], accounts: Sequence[AccountId] | None
    ) -> list[CounterDifference]:
        before = await self._ledger_totals(scopes, accounts)
        stored = await self._stored_totals(scopes)
        suspects = {scope for (scope, period), total in stored.items() if total != before.get((scope, period), Total())}
        if not suspects:
            return []
        await asyncio.sleep(CONFIRM_SECONDS)
        stored = await self._stored_totals(suspects)
        after = await self._ledger_totals(scopes, accounts)
        return [
            _difference(*place, total, after.get(place, Total()))
            for place, total in stored.items()
            if _differs(total, before.get(place, Total()), after.get(place, Total()))
        ]

    async def _stored_totals(self, scopes: Iterable[Scope]) -> Totals:
        """Of the scopes that Redis knows. One that it does not know is read from Postgres when it is needed."""
        periods = self._periods()
        fields = ["status", *(f"{kind}:{period}" for period in periods for kind in ("ledger", "ledger_version"))]
        totals: Totals = {}
        for _, part in _parts(scopes):
            pipeline = self._redis.pipeline(transaction=False)
            for scope in part:
                pipeline.hmget(scope.name, fields)
            for scope, (status, *values) in zip(part, await pipeline.execute(), strict=True):
                numbers = [int(value or 0) for value in values]
                if status:
                    pairs = zip(numbers[::2], numbers[1::2], strict=True)
                    totals |= {(scope, period): Total(*pair) for period, pair in zip(periods, pairs, strict=True)}
        return totals

    async def _ledger_totals(self, scopes: list[Scope], accounts: Sequence[AccountId] | None) -> Totals:
        known = {(scope.account_id, scope.key_id): scope for scope in scopes}
        rows = await self._pool.fetch(TOTALS, self._periods(), accounts)
        return {
            (known[account, key], period): Total(charged, version)
            for account, key, period, charged, version in rows
            if (account, key) in known
        }

    async def _publish(self, scope: Scope, period: date, *, force: bool) -> None:
        if scope.key_id == WHOLE_ACCOUNT:
            await self._directory.publish_account(scope.account_id, period, force=force)
        else:
            await self._directory.publish_key(scope.key_id, period, force=force)

    def _periods(self) -> list[date]:
        """The running one and the one before, for which events may still arrive."""
        current = billing_period(self._now())
        return [current, (current - timedelta(days=1)).replace(day=1)]


def _parts(scopes: Iterable[Scope]) -> Iterable[tuple[ShardKeys, list[Scope]]]:
    """A few hundred scopes of one shard at a time."""
    by_shard: dict[ShardKeys, list[Scope]] = {}
    for scope in scopes:
        by_shard.setdefault(scope.shard, []).append(scope)
    for shard, members in by_shard.items():
        rest = iter(members)
        while part := list(islice(rest, SCOPES_PER_CALL)):
            yield shard, part


def _differs(stored: Total, before: Total, after: Total) -> bool:
    """Redis may lag behind `after`, never behind what the ledger held a confirmation's time ago."""
    if stored.version == after.version:
        return stored.charged != after.charged
    return stored.version < before.version or stored.version > after.version


def _difference(scope: Scope, period: date, stored: Total, expected: Total) -> CounterDifference:
    return CounterDifference(scope.name, f"ledger:{period}", stored.charged, expected.charged)
