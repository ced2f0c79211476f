"""What a gateway has to hold requests and end them, on a real Valkey and a real disk: for tests of one process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from core.process.settings import Secret
from core.redis import script_calls
from core.redis.lua_scripts import Argument, LuaScript, load_script
from core.redis.script_runner import ScriptRunner
from core.usage.usage_event import Outcome, UsageEvent
from gateway.accounting.leases import Leases
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.accounting.reservation import Reservation
from gateway.accounting.settlement import Settlement
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.spool import Spool
from gateway.store.cold_scopes import ColdScopes
from gateway.store.redis_pipeline import RedisPipeline
from tests.gateway.reserving import EVENT_ID, KEYS, PERIOD, reservation_of
from tests.gateway.settlements import SHARDS, events
from tests.gateway.spool.spooling import UnknownToPostgres, let_go, replay_all
from tests.harness.servers import valkey
from tests.harness.waiting import until

__all__ = ["LEASE_MS", "Bench", "bench_on", "publish", "settlement_without_redis"]

SCRIPTS = ("admit", "renew", "settle", "release")
LEASE_MS = 30_000
FAR_AWAY_MS = 2**52
ACTIVE: dict[str, Argument | None] = {"status": "active", "rpm": None, "tpm": None, "concurrency": None, "cap": None}


@dataclass
class Bench:
    """Its spool is written when a test says so: `spool.flush`."""

    url: str
    directory: Path
    pipeline: RedisPipeline
    spool: Spool
    scopes: ColdScopes
    settlement: Settlement
    leases: Leases
    allowance: OfflineAllowance

    async def reserve(self, *, cost: int = 1) -> None:
        """As `admit` leaves it. `cost` in nano-dollars."""
        async with valkey(self.url) as client:
            fields: Mapping[Any, Any] = {"cost": cost, "tokens": 1, "minute": 0, "event": "estimate"}
            await client.hset(KEYS.reservation, mapping=fields)
            await client.zadd(KEYS.leases, {KEYS.event_id: 1})
            for scope in (KEYS.account, KEYS.key):
                await client.hincrby(scope, "in_flight", 1)
                await client.hincrby(scope, "reserved", cost)

    async def reserved(self) -> bool:
        async with valkey(self.url) as client:
            return bool(await client.exists(KEYS.reservation))

    def reservation(self, *, on_trust: bool = False, event_id: UUID = EVENT_ID, stream: bool = False) -> Reservation:
        connection = None if on_trust else self.pipeline.connection_number
        reservation = reservation_of(self.settlement, event_id=event_id, stream=stream, connection=connection)
        self.leases.add(reservation)
        return reservation

    async def cut(self) -> None:
        """Redis drops the connection; the gateway opens the next one."""
        number = self.pipeline.connection_number
        async with valkey(self.url) as client:
            await client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: self.pipeline.connection_number > number)

    async def refuse_writes(self, *, refuse: bool = True) -> None:
        """Redis' memory is full."""
        async with valkey(self.url) as client:
            await client.config_set("maxmemory", int(refuse))

    def on_the_disk(self) -> int:
        return sum(path.read_bytes().count(KEYS.event_id.encode()) for path in self.directory.glob("*.spool"))

    async def recorded(self) -> list[UsageEvent]:
        """What is on the stream, oldest first."""
        return await events(self.url)

    async def outcomes(self) -> list[Outcome]:
        return [event.outcome for event in await self.recorded()]

    async def scope(self, name: str = KEYS.account) -> dict[str, str]:
        async with valkey(self.url) as client:
            stored: Any = await client.hgetall(name)
        return {field.decode(): value.decode() for field, value in stored.items()}

    async def publish(
        self, *, account: Mapping[str, Argument] | None = None, key: Mapping[str, Argument] | None = None
    ) -> None:
        """See `publish`."""
        await publish(self.url, self.pipeline.epoch, account=account, key=key)

    def break_disk(self) -> None:
        """From now on it takes nothing. Nothing may have been written yet."""
        self.directory.rmdir()
        self.directory.write_text("a file where the directory should be")

    def mend_disk(self) -> None:
        self.directory.unlink()

    async def die(self) -> None:
        """Another process takes over what is on the disk."""
        let_go(self.spool)
        await replay_all(self.directory, self.pipeline)


@asynccontextmanager
async def bench_on(
    directory: Path, url: str, *, reply_seconds: float = 2.0, limit: int = 10**9
) -> AsyncIterator[Bench]:
    """`limit` in nano-dollars: what an account may spend while Redis is away."""

    def changed(connected: bool) -> None:
        if not connected:
            settlement.redis_lost()
            leases.redis_lost()

    pipeline = RedisPipeline(Secret(url), _scripts(), reply_seconds=reply_seconds, on_change=changed)
    recent, scopes, leases = RecentSettlements(pipeline), UnknownToPostgres(pipeline), Leases(lease_seconds=30)
    spool = Spool(directory, pipeline, recent, scopes, shard_count=SHARDS)
    allowance = OfflineAllowance(limit=limit, memory=60)
    settlement = Settlement(pipeline, spool, recent, scopes, allowance, lease_ms=LEASE_MS)
    tasks = [asyncio.create_task(work) for work in (pipeline.run(), leases.run())]
    try:
        await until(lambda: pipeline.connected)
        yield Bench(url, directory, pipeline, spool, scopes, settlement, leases, allowance)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        let_go(spool)


def settlement_without_redis(directory: Path) -> Settlement:
    """What is settled waits for a disk that nobody writes."""
    pipeline = RedisPipeline(Secret("redis://127.0.0.1:1"), _scripts(), reply_seconds=1.0)
    recent, scopes = RecentSettlements(pipeline), UnknownToPostgres(pipeline)
    spool = Spool(directory, pipeline, recent, scopes, shard_count=SHARDS)
    return Settlement(pipeline, spool, recent, scopes, OfflineAllowance(limit=0, memory=0), lease_ms=LEASE_MS)


async def publish(
    url: str,
    epoch: str,
    *,
    account: Mapping[str, Argument] | None = None,
    key: Mapping[str, Argument] | None = None,
    period: date = PERIOD,
) -> None:
    """Both scopes of `PRINCIPAL`, as a portal makes them known: active, and without a limit that is not named."""
    fields: dict[str, dict[str, Argument | None]] = {
        KEYS.account: {**ACTIVE, "period": period.isoformat(), "period_ends": FAR_AWAY_MS, **(account or {})},
        KEYS.key: {**ACTIVE, "expires_at": None, "models": "", **(key or {})},
    }
    async with valkey(url) as client:
        runner = ScriptRunner(client)
        for scope, limits in fields.items():
            await runner.run(script_calls.publish(scope, revision=1, epoch=epoch, totals=(), fields=limits))


def _scripts() -> list[LuaScript]:
    return [load_script(name) for name in SCRIPTS]
