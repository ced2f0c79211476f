import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from itertools import permutations
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from core.accounts.key_directory import KeyDirectory
from core.postgres.connections import open_pool
from core.principal import AccountId, KeyId, Principal
from core.process.settings import Secret
from core.redis import script_calls
from core.redis.connections import connect_redis
from core.redis.keys import ShardKeys, key_digest
from core.redis.script_runner import ScriptRunner

SHARDS = 4
PERIOD = date(2026, 11, 1)
NOW = datetime(2026, 11, 15, tzinfo=UTC)
DIGEST = b"\x01" * 32


class Bench:
    """An account with one key in Postgres, and a directory that can publish them."""

    def __init__(self, pool: asyncpg.Pool, redis: Redis, account_id: AccountId, key_id: KeyId) -> None:
        self.pool = pool
        self.redis = redis
        self.directory = KeyDirectory(pool, redis, shard_count=SHARDS, now=lambda: NOW)
        self.account_id = account_id
        self.key_id = key_id
        shard = ShardKeys.of(account_id, SHARDS)
        self.account_scope, self.key_scope = shard.account(account_id), shard.key(key_id)

    async def scope(self, name: str) -> dict[str, str]:
        fields: dict[Any, Any] = await self.redis.hgetall(name)
        return {field.decode(): value.decode() for field, value in fields.items()}

    async def change_key(self, changes: str) -> None:
        await self.pool.execute(f"UPDATE api_keys SET {changes}, revision = revision + 1")  # noqa: S608

    async def set_ledger(self, charged: int, requests: int, key_id: int = 0) -> None:
        columns = "estimated_requests, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, "
        columns += "output_tokens, reasoning_tokens, cost_nano_usd, waived_nano_usd"
        await self.pool.execute(
            "INSERT INTO usage_periods (period, account_id, key_id, charged_nano_usd, version, requests, "  # noqa: S608
            f"{columns}) VALUES ($1, $2, $3, $4, $5, $5, 0, 0, 0, 0, 0, 0, 0, 0, 0) "
            "ON CONFLICT (account_id, period, key_id) DO UPDATE SET charged_nano_usd = $4, version = $5",
            PERIOD,
            self.account_id,
            key_id,
            charged,
            requests,
        )


@asynccontextmanager
async def bench(database_url: str, redis_url: str) -> AsyncIterator[Bench]:
    pool = await open_pool(Secret(database_url), max_connections=8, application="test")
    redis = connect_redis(Secret(redis_url))
    try:
        account = await pool.fetchval(
            "INSERT INTO accounts (name, plan, requests_per_minute, cap_nano_usd) VALUES ('a', 'basic', 60, 5000000000)"
            " RETURNING account_id"
        )
        key = await pool.fetchval(
            "INSERT INTO api_keys (account_id, name, digest, pepper_id, display_prefix, models, expires_at) VALUES"
            " ($1, 'k', $2, 1, 'pk_live_abcd', '{m,n}', '2027-01-01T00:00:00.5Z') RETURNING key_id",
            account,
            DIGEST,
        )
        yield Bench(pool, redis, AccountId(account), KeyId(key))
    finally:
        pool.terminate()
        await redis.aclose()


async def test_a_published_account_has_its_limits_its_status_and_what_it_spent(
    database_url: str, redis_url: str
) -> None:
    async with bench(database_url, redis_url) as here:
        await here.set_ledger(1234, 5)

        revision = await here.directory.publish_account(here.account_id)

        assert revision == 1
        assert await here.scope(here.account_scope) == {
            "revision": "1",
            "status": "active",
            "rpm": "60",
            "tpm": "",
            "concurrency": "",
            "cap": "5000000000",
            "epoch": (await here.redis.info("server"))["run_id"],
            "period": "2026-11-01",
            "period_ends": "1796083200000",
            "next_period": "2026-12-01",
            "next_period_ends": "1798761600000",
            "ledger:2026-11-01": "1234",
            "ledger_version:2026-11-01": "5",
        }


async def test_a_published_key_is_found_by_its_digest_and_has_limits_of_its_own(
    database_url: str, redis_url: str
) -> None:
    async with bench(database_url, redis_url) as here:
        await here.set_ledger(99, 3, here.key_id)
        await here.set_ledger(1234, 5)

        await here.directory.publish_key(here.key_id)

        assert await here.redis.get(key_digest(DIGEST)) == bytes(Principal(here.account_id, here.key_id))
        scope = await here.scope(here.key_scope)
        assert scope["models"] == ",m,n,"
        assert scope["expires_at"] == "1798761600500"
        assert scope["ledger:2026-11-01"] == "99"
        assert scope["cap"] == ""


async def test_a_digest_leads_to_account_and_key_even_of_a_revoked_key(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        await here.change_key("status = 'revoked'")

        assert await here.directory.find([b"\x02" * 32, DIGEST]) == Principal(here.account_id, here.key_id)
        assert await here.directory.find([b"\x02" * 32]) is None
        assert await here.directory.find([]) is None


async def test_unknown_ids_publish_nothing(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        assert await here.directory.publish_account(AccountId(999)) is None
        assert await here.directory.publish_key(KeyId(999)) is None

        assert await here.redis.dbsize() == 0


async def test_a_limit_that_was_taken_away_is_gone_from_redis(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        await here.directory.publish_key(here.key_id)
        await here.change_key("models = NULL, expires_at = NULL")

        await here.directory.publish_key(here.key_id)

        scope = await here.scope(here.key_scope)
        assert scope["models"] == scope["expires_at"] == ""


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_slow_publisher_never_brings_a_revoked_key_back(
    database_url: str, redis_url: str, order: tuple[int, ...]
) -> None:
    async with bench(database_url, redis_url) as here:
        rows: list[Any] = []
        for change in ("name = 'renamed'", "cap_nano_usd = 7", "status = 'revoked'"):
            await here.change_key(change)
            rows.append(await here.pool.fetchrow("SELECT revision, status, cap_nano_usd FROM api_keys"))

        for number in order:  # What each publisher had read, written in any order.
            revision, status, cap = rows[number]
            await ScriptRunner(here.redis).run(
                script_calls.publish(
                    here.key_scope,
                    revision=revision,
                    epoch="",
                    totals=(),
                    fields={"status": status, "cap": cap},
                )
            )

        scope = await here.scope(here.key_scope)
        assert scope["status"] == "revoked"
        assert scope["cap"] == "7"


async def test_publishers_at_once_end_with_the_newest_revision(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:

        async def publish_and_change(number: int) -> None:
            await here.directory.publish_key(here.key_id)
            await here.change_key(f"requests_per_minute = {number}")
            await here.directory.publish_key(here.key_id)

        await asyncio.gather(*map(publish_and_change, range(30)))

        expected = await here.pool.fetchrow("SELECT revision, requests_per_minute FROM api_keys")
        scope = await here.scope(here.key_scope)
        assert (int(scope["revision"]), int(scope["rpm"])) == tuple(expected or ())


async def test_an_older_ledger_total_never_overwrites_a_newer_one(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        await here.set_ledger(100, 1)
        await here.redis.hset(here.account_scope, mapping={f"ledger:{PERIOD}": 300, f"ledger_version:{PERIOD}": 3})

        await here.directory.publish_account(here.account_id)

        scope = await here.scope(here.account_scope)
        assert scope[f"ledger:{PERIOD}"] == "300"
        assert scope["status"] == "active"


async def test_the_limits_of_an_old_revision_still_bring_a_newer_ledger_total(
    database_url: str, redis_url: str
) -> None:
    async with bench(database_url, redis_url) as here:
        await here.set_ledger(500, 9)
        await here.redis.hset(here.account_scope, mapping={"status": "suspended", "revision": 8})

        revision = await here.directory.publish_account(here.account_id)

        scope = await here.scope(here.account_scope)
        assert revision == 8
        assert scope["status"] == "suspended"
        assert scope[f"ledger:{PERIOD}"] == "500"


async def test_a_database_restored_from_a_backup_is_believed_when_forced(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        await here.set_ledger(100, 1)
        await here.redis.hset(here.account_scope, mapping={f"ledger:{PERIOD}": 300, f"ledger_version:{PERIOD}": 3})

        await here.directory.publish_account(here.account_id, force_period=PERIOD)

        assert (await here.scope(here.account_scope))[f"ledger:{PERIOD}"] == "100"


async def test_publishing_leaves_counters_and_other_periods_alone(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        counters: dict[Any, Any] = {
            "reserved": "7",
            "in_flight": "1",
            "pending:2026-11-01": "5",
            "ledger:2026-10-01": "9",
        }
        await here.redis.hset(here.account_scope, mapping=counters)

        await here.directory.publish_account(here.account_id)

        assert counters.items() <= (await here.scope(here.account_scope)).items()


async def test_whoever_finds_the_entry_finds_the_scope_as_well(database_url: str, redis_url: str) -> None:
    async with bench(database_url, redis_url) as here:
        await here.redis.set(here.key_scope, "no hash")  # Makes writing the scope fail.

        with pytest.raises(Exception, match="WRONGTYPE"):
            await here.directory.publish_key(here.key_id)

        assert await here.redis.get(key_digest(DIGEST)) is None
