"""
What Redis knows about accounts and keys, written from what Postgres says.

`publish_account` and `publish_key` may run at any time, any number of times, in any number of processes: a revision
orders the limits, a version orders the ledger's totals, and the script `publish` never lets an older one overwrite a
newer one. portal_api calls them after a change; the gateway when it meets an account that this server, in this life,
has never been told of: a fresh Redis, or one that came back with an older state.

An epoch (the server's `run_id`) is learned before Postgres is read. If the server restarts in between, what is written
is marked for the life that is over, and is not trusted.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
from redis.asyncio import Redis

from core.principal import AccountId, KeyId, Principal
from core.redis import script_calls
from core.redis.keys import ShardKeys, key_digest
from core.redis.lua_scripts import Argument
from core.redis.script_calls import PublishedTotal
from core.redis.script_runner import ScriptRunner
from core.usage.billing_period import BillingPeriods, billing_periods

__all__ = ["KeyDirectory", "server_epoch"]

SPENT = "spent.period, spent.charged_nano_usd + spent.parked_nano_usd AS charged, spent.version"
"""What the caps see: dead letters that wait are not forgotten."""

ACCOUNT = f"""
    SELECT account.revision, account.status, account.requests_per_minute, account.tokens_per_minute,
           account.concurrent_requests, account.cap_nano_usd, {SPENT}
    FROM accounts AS account
    LEFT JOIN usage_periods AS spent
        ON spent.account_id = account.account_id AND spent.period = ANY($2) AND spent.key_id = 0
    WHERE account.account_id = $1
"""  # noqa: S608  Nothing but a constant is put in.

KEY = f"""
    SELECT key.revision, key.status, key.requests_per_minute, key.tokens_per_minute, key.concurrent_requests,
           key.cap_nano_usd, key.account_id, key.digest, key.models,
           floor(extract(epoch FROM key.expires_at) * 1000)::bigint AS expires_at, {SPENT}
    FROM api_keys AS key
    LEFT JOIN usage_periods AS spent
        ON spent.account_id = key.account_id AND spent.period = ANY($2) AND spent.key_id = key.key_id
    WHERE key.key_id = $1
"""  # noqa: S608  As above.

FIND = "SELECT account_id, key_id FROM api_keys WHERE digest = ANY($1::bytea[])"

OF_ANOTHER_PEPPER = """
    SELECT EXISTS (SELECT 1 FROM api_keys WHERE display_prefix = $1)
        OR EXISTS (SELECT 1 FROM api_keys) AND NOT EXISTS (SELECT 1 FROM api_keys WHERE pepper_id = ANY($2))
"""


class KeyDirectory:
    """Needs a pool to read from and a Redis to write to; both may be away, then their own errors come through.

    `wait_seconds` bounds the wait for a connection of the pool, and for its return should Postgres be frozen."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        *,
        shard_count: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_seconds: float = 30.0,
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._shard_count = shard_count
        self._now = now
        self._wait_seconds = wait_seconds
        self._scripts = ScriptRunner(redis)

    async def find(self, digests: list[bytes]) -> Principal | None:
        """Whose key has one of these digests, revoked ones included; None for an unknown key."""
        rows = await self._fetch(FIND, digests)
        return Principal(AccountId(rows[0]["account_id"]), KeyId(rows[0]["key_id"])) if rows else None

    async def of_another_pepper(self, display_prefix: str, pepper_ids: list[int]) -> bool:
        """Whether an unknown key looks like one of ours whose digest was made with another pepper: one that is
        shown in the same way exists, or none was made with a pepper of these ids. Reads the whole table."""
        [[found]] = await self._fetch(OF_ANOTHER_PEPPER, display_prefix, pepper_ids)
        return bool(found)

    async def publish_account(
        self, account_id: AccountId, *, epoch: str | None = None, force_period: date | None = None
    ) -> int | None:
        """Write the account's scope and return the revision that Redis has then: the row's, or a newer one that was
        there already. None for an unknown account.

        `epoch` is the server's, if the caller knows it. `force_period`: set its total even if Redis has a newer one,
        for a database restored from a backup."""
        epoch = epoch or await server_epoch(self._redis)
        periods = billing_periods(self._now())
        rows = await self._fetch(ACCOUNT, account_id, _wanted(periods, force_period))
        if not rows:
            return None
        scope = ShardKeys.of(account_id, self._shard_count).account(account_id)
        return await self._write(scope, epoch, rows, _totals(rows, periods, force_period), _period_fields(periods))

    async def publish_key(
        self, key_id: KeyId, *, epoch: str | None = None, force_period: date | None = None
    ) -> int | None:
        """Write the key's scope, then the entry that leads to it. Returns as `publish_account` does."""
        epoch = epoch or await server_epoch(self._redis)
        periods = billing_periods(self._now())
        rows = await self._fetch(KEY, key_id, _wanted(periods, force_period))
        if not rows:
            return None
        key = rows[0]
        principal = Principal(AccountId(key["account_id"]), key_id)
        scope = ShardKeys.of(principal.account_id, self._shard_count).key(key_id)
        models = f",{','.join(key['models'])}," if key["models"] is not None else ""
        fields = {"expires_at": key["expires_at"], "models": models}
        revision = await self._write(scope, epoch, rows, _totals(rows, periods, force_period), fields)
        # The entry comes last: whoever finds it finds the scope as well.
        await self._redis.set(key_digest(key["digest"]), bytes(principal))
        return revision

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=self._wait_seconds) as connection:
            return await connection.fetch(query, *arguments)

    async def _write(
        self,
        scope: str,
        epoch: str,
        rows: Sequence[asyncpg.Record],
        totals: Sequence[PublishedTotal],
        fields: dict[str, Argument | None],
    ) -> int:
        row = rows[0]
        fields = {
            "status": row["status"],
            "rpm": row["requests_per_minute"],
            "tpm": row["tokens_per_minute"],
            "concurrency": row["concurrent_requests"],
            "cap": row["cap_nano_usd"],
            **fields,
        }
        call = script_calls.publish(scope, revision=row["revision"], epoch=epoch, totals=totals, fields=fields)
        return int(await self._scripts.run(call))


async def server_epoch(redis: Redis) -> str:
    """Which life of the server answers."""
    return str((await redis.info("server"))["run_id"])


def _wanted(periods: BillingPeriods, force_period: date | None) -> list[date]:
    return [periods.previous, periods.current, periods.following, *([force_period] if force_period else [])]


def _totals(rows: Sequence[asyncpg.Record], periods: BillingPeriods, force_period: date | None) -> list[PublishedTotal]:
    """Of what the ledger has; the running period also when it has nothing, and one that is forced."""
    found = {row["period"]: row for row in rows if row["period"] is not None}
    wanted = {periods.current, *found, *([force_period] if force_period else [])}
    return [
        PublishedTotal(
            period.isoformat(),
            found[period]["charged"] if period in found else 0,
            found[period]["version"] if period in found else 0,
            force=period == force_period,
        )
        for period in sorted(wanted)
    ]


def _period_fields(periods: BillingPeriods) -> dict[str, Argument | None]:
    return {
        "period": periods.current.isoformat(),
        "period_ends": _milliseconds(periods.ends),
        "next_period": periods.following.isoformat(),
        "next_period_ends": _milliseconds(periods.following_ends),
    }


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
