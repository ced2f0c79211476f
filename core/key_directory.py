"""
What Redis knows about accounts and keys, written from what Postgres says.

`publish_account` and `publish_key` may run at any time, any number of times, in any number of processes: a revision
orders the limits, a version orders the ledger's totals, and the script `publish` never lets an older one overwrite a
newer one. portal_api calls them after a change; the gateway when it meets an account that a fresh or restored Redis
has never seen.
"""

from datetime import date

import asyncpg
from redis.asyncio import Redis

from core import script_calls
from core.lua_scripts import Argument, ScriptRunner
from core.principal import AccountId, KeyId, Principal
from core.redis_keys import ShardKeys, key_digest

__all__ = ["KeyDirectory"]

ACCOUNT = """
    SELECT account.revision, account.status, account.requests_per_minute, account.tokens_per_minute,
           account.concurrent_requests, account.cap_nano_usd,
           coalesce(spent.charged_nano_usd + spent.parked_nano_usd, 0) AS charged,
           coalesce(spent.version, 0) AS version
    FROM accounts AS account
    LEFT JOIN usage_periods AS spent ON spent.account_id = account.account_id AND spent.period = $2 AND spent.key_id = 0
    WHERE account.account_id = $1
"""

KEY = """
    SELECT key.revision, key.status, key.requests_per_minute, key.tokens_per_minute, key.concurrent_requests,
           key.cap_nano_usd, key.account_id, key.digest, key.models,
           floor(extract(epoch FROM key.expires_at) * 1000)::bigint AS expires_at,
           coalesce(spent.charged_nano_usd + spent.parked_nano_usd, 0) AS charged,
           coalesce(spent.version, 0) AS version
    FROM api_keys AS key
    LEFT JOIN usage_periods AS spent
        ON spent.account_id = key.account_id AND spent.period = $2 AND spent.key_id = key.key_id
    WHERE key.key_id = $1
"""

FIND = "SELECT account_id, key_id FROM api_keys WHERE digest = ANY($1::bytea[])"


class KeyDirectory:
    """Needs a pool to read from and a Redis to write to; both may be away, then their own errors come through."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, *, shard_count: int) -> None:
        self._pool = pool
        self._redis = redis
        self._shard_count = shard_count
        self._scripts = ScriptRunner(redis)

    async def find(self, digests: list[bytes]) -> Principal | None:
        """Whose key has one of these digests, revoked ones included; None for a key that nobody has."""
        row = await self._pool.fetchrow(FIND, digests)
        return Principal(AccountId(row["account_id"]), KeyId(row["key_id"])) if row else None

    async def publish_account(self, account_id: AccountId, period: date, *, force: bool = False) -> int | None:
        """Write the account's scope and return the revision that Redis has then: the row's, or a newer one that was
        there already. None for an unknown account.

        `force` sets the ledger's total even if Redis has a newer one: for a database restored from a backup."""
        row = await self._pool.fetchrow(ACCOUNT, account_id, period)
        if row is None:
            return None
        scope = ShardKeys.of(account_id, self._shard_count).account(account_id)
        return await self._write(scope, row, period, force=force, fields={})

    async def publish_key(self, key_id: KeyId, period: date, *, force: bool = False) -> int | None:
        """Write the key's scope, then the entry that leads to it. Returns as `publish_account` does."""
        row = await self._pool.fetchrow(KEY, key_id, period)
        if row is None:
            return None
        principal = Principal(AccountId(row["account_id"]), key_id)
        scope = ShardKeys.of(principal.account_id, self._shard_count).key(key_id)
        models = f",{','.join(row['models'])}," if row["models"] is not None else ""
        fields = {"expires_at": row["expires_at"], "models": models}
        revision = await self._write(scope, row, period, force=force, fields=fields)
        # The entry comes last: whoever finds it finds the scope as well.
        await self._redis.set(key_digest(row["digest"]), bytes(principal))
        return revision

    async def _write(
        self, scope: str, row: asyncpg.Record, period: date, *, force: bool, fields: dict[str, Argument | None]
    ) -> int:
        fields = {
            "status": row["status"],
            "rpm": row["requests_per_minute"],
            "tpm": row["tokens_per_minute"],
            "concurrency": row["concurrent_requests"],
            "cap": row["cap_nano_usd"],
            **fields,
        }
        call = script_calls.publish(
            scope,
            revision=row["revision"],
            period=period.isoformat(),
            charged=row["charged"],
            version=row["version"],
            fields=fields,
            force=force,
        )
        return int(await self._scripts.run(call))
