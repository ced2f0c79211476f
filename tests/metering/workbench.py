"""The parts of metering on a real Postgres and Valkey, as `metering.__main__` puts them together."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
from redis.asyncio import Redis

from core.accounts.key_directory import KeyDirectory, server_epoch
from core.postgres.connections import open_pool
from core.process.failpoints import Failpoints
from core.process.settings import Secret
from core.redis import script_calls
from core.redis.connections import connect_redis
from core.redis.keys import ReservationKeys, ShardKeys, shards
from core.redis.script_runner import ScriptRunner
from core.usage.usage_event import UsageEvent
from metering.ingest.consumer import Consumer
from metering.ingest.dead_letters import DeadLetters
from metering.ingest.stream import UsageStreams
from metering.ledger.entries import Entry, TimeBounds, amount_of
from metering.ledger.ledger import Ledger
from metering.ledger.partitions import Partitions
from metering.proof.reconciliation import Reconciliation
from metering.repair.counters import Counters
from metering.repair.sweeper import Sweeper
from tests.metering.events import PERIOD

__all__ = ["SHARDS", "Workbench", "workbench"]

SHARDS = 4


class Workbench:
    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self.pool = pool
        self.redis = redis
        self.partitions = Partitions(pool)
        self.ledger = Ledger(pool, self.partitions, Failpoints())
        self.dead_letters = DeadLetters(pool, redis)
        self.counters = Counters(pool, redis, shard_count=SHARDS, now=lambda: datetime.now(UTC))
        self.directory = KeyDirectory(pool, redis, shard_count=SHARDS)
        self.reconciliation = Reconciliation(pool)
        self.sweeper = Sweeper(redis, shards(SHARDS), Failpoints(), confirm_seconds=0.0)
        self._scripts = ScriptRunner(redis)

    def streams(self, name: str = "one") -> UsageStreams:
        return UsageStreams(self.redis, shards(SHARDS), consumer=name)

    def consumer(
        self, name: str = "one", *, batch_size: int = 100, claim_idle_seconds: float = 60.0, future_days: int = 2
    ) -> Consumer:
        return Consumer(
            self.streams(name),
            self.ledger,
            batch_size=batch_size,
            claim_idle_seconds=claim_idle_seconds,
            bounds=lambda: TimeBounds.around(datetime.now(UTC), past_days=400, future_days=future_days),
            failpoints=Failpoints(),
            block_ms=10,
        )

    async def settle(self, event: UsageEvent) -> None:
        """As the gateway does it at the end of an answer."""
        await self._scripts.run(script_calls.settle_event(self._keys(event), event))

    async def settle_all(self, events: Iterable[UsageEvent]) -> None:
        for event in events:
            await self.settle(event)

    async def admit(self, event: UsageEvent, *, cost: int, lease_ms: int = 60_000, wire: bytes | None = None) -> Any:
        """Reserve `cost` nano-dollars for it; `wire` is left for the sweeper instead of the event."""
        return await self._scripts.run(
            script_calls.admit(
                self._keys(event),
                epoch=await server_epoch(self.redis),
                model=event.model,
                lease_ms=lease_ms,
                input_tokens=10,
                input_cost=cost,
                output_tokens=1,
                min_output_tokens=1,
                output_cost=0,
                choices=1,
                event=wire or event.encode(),
            )
        )

    async def renew(self, event: UsageEvent, *, lease_ms: int) -> Any:
        """As a living gateway does for a long answer."""
        return await self._scripts.run(script_calls.renew(self._keys(event), lease_ms=lease_ms, event=event.encode()))

    async def open_scopes(self, event: UsageEvent) -> None:
        """What `publish` writes: without it a scope is cold."""
        keys = self._keys(event)
        fields: dict[Any, Any] = {"status": "active", "revision": 1, "epoch": await server_epoch(self.redis)}
        fields |= {"period": event.period.isoformat(), "period_ends": 2**52}
        for scope in (keys.account, keys.key):
            await self.redis.hset(scope, mapping=fields)

    async def put(self, event: UsageEvent, **fields: Any) -> None:
        """An entry of any form, past the gateway's script, which would have added its amount to `pending`."""
        shard = ShardKeys.of(event.account_id, SHARDS)
        entry: dict[Any, Any] = {"e": event.encode(), "c": event.cost, "w": 0, **fields}
        wire = {
            name.encode(): str(value).encode() if not isinstance(value, bytes) else value
            for name, value in entry.items()
        }
        if amount := amount_of(Entry(shard, b"0-0", wire)):
            for scope in (shard.account(amount.account_id), shard.key(amount.key_id)):
                await self.redis.hincrby(scope, f"pending:{amount.period}", amount.charged_nano_usd)
        await self.redis.xadd(shard.usage_stream, entry)

    async def drain(self, consumer: Consumer | None = None) -> None:
        consumer = consumer or self.consumer()
        while await consumer.round():
            pass

    async def scope(self, name: str) -> dict[str, str]:
        fields: dict[Any, Any] = await self.redis.hgetall(name)
        return {field.decode(): value.decode() for field, value in fields.items()}

    async def account(self, account_id: int) -> dict[str, str]:
        return await self.scope(ShardKeys.of(account_id, SHARDS).account(account_id))  # type: ignore[arg-type]

    async def entries_left(self) -> int:
        return sum([await self.redis.xlen(shard.usage_stream) for shard in shards(SHARDS)])

    async def recorded(self) -> set[str]:
        return {str(row["event_id"]) for row in await self.pool.fetch("SELECT event_id FROM usage_events")}

    async def create_account(self, keys: int = 1) -> tuple[int, list[int]]:
        """An account in Postgres with some keys."""
        account = await self.pool.fetchval(
            "INSERT INTO accounts (name, plan) VALUES ('a', 'basic') RETURNING account_id"
        )
        ids = [
            await self.pool.fetchval(
                "INSERT INTO api_keys (account_id, name, digest, pepper_id, display_prefix)"
                " VALUES ($1, 'k', $2, 1, 'pk_live_') RETURNING key_id",
                account,
                b"%d-%d" % (account, number),
            )
            for number in range(keys)
        ]
        return account, ids

    async def assert_everything_adds_up(self, events: Iterable[UsageEvent]) -> None:
        """Each event is recorded once, the sums are theirs, nothing is left in Redis, and the counters agree."""
        expected = {str(event.event_id): event.cost for event in events}
        rows = await self.pool.fetch("SELECT event_id::text, charged_nano_usd FROM usage_events")
        assert len(rows) == len(expected)
        assert {row["event_id"]: row["charged_nano_usd"] for row in rows} == expected
        assert await self.reconciliation.aggregate_differences(PERIOD.replace(year=PERIOD.year - 2)) == []
        assert await self.entries_left() == 0
        totals = await self.pool.fetch(
            "SELECT account_id, key_id, period, charged_nano_usd + parked_nano_usd FROM usage_periods"
        )
        for account, key, period, charged in totals:
            shard = ShardKeys.of(account, SHARDS)
            scope = await self.scope(shard.key(key) if key else shard.account(account))
            assert scope[f"ledger:{period}"] == str(charged)
            assert scope.get(f"pending:{period}", "0") == "0"

    @staticmethod
    def _keys(event: UsageEvent) -> ReservationKeys:
        return ReservationKeys.of(event.account_id, event.key_id, event.event_id, SHARDS)


@asynccontextmanager
async def workbench(database_url: str, redis_url: str) -> AsyncIterator[Workbench]:
    pool = await open_pool(Secret(database_url), max_connections=8, application="test")
    redis = connect_redis(Secret(redis_url))
    try:
        yield Workbench(pool, redis)
    finally:
        pool.terminate()
        await redis.aclose()
