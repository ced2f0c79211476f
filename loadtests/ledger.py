"""
How many usage events a second the ledger takes: `python -m loadtests.ledger --events 200000`.

Starts a Postgres and a Valkey of its own, settles the events through the gateway's own script, then runs the metering
process with everything on until the streams are empty. Prints the CPU that each process spent per event; what
metering spends on its start is measured with empty streams first and taken off. The last line is JSON.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from core.postgres.connections import connect_postgres
from core.postgres.migrations import migrate
from core.principal import AccountId, KeyId
from core.process.settings import Secret
from core.redis import script_calls
from core.redis.connections import connect_redis
from core.redis.keys import ReservationKeys, shards
from core.redis.lua_scripts import load_script
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome, UsageEvent
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from loadtests.process_usage import processes_below, usage_of

SHARDS = 16
SETTLEMENTS_PER_PIPELINE = 500
KEYS_PER_ACCOUNT = 2
QUIET_SECONDS = 3.0
"""An idle metering process has finished its start after this long."""

ACCOUNTS = "INSERT INTO accounts (name, plan) SELECT 'account ' || n, 'pro' FROM generate_series(1, $1::int) AS n"
KEYS = """
    INSERT INTO api_keys (account_id, name, digest, pepper_id, display_prefix)
    SELECT account_id, 'key', sha256(convert_to(account_id || ' ' || n, 'UTF8')), 1, 'pk_live_'
    FROM accounts, generate_series(1, $1::int) AS n
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    events: int
    accounts: int
    batch_size: int
    consumers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    load: Load
    seconds: float
    events_per_second: int
    events_per_second_and_core: int
    """What a core that metering has for itself would take."""
    metering_us: float
    postgres_us: float
    valkey_us: float
    metering_rss_mib: int


@dataclass(frozen=True, slots=True)
class Servers:
    postgres: PostgresServer
    valkey: ValkeyServer

    def cpu_seconds(self) -> tuple[float, float]:
        return tuple(usage_of(processes_below(server.pids[0])).cpu_seconds for server in (self.postgres, self.valkey))  # type: ignore[return-value]


async def measure(servers: Servers, load: Load) -> Result:
    redis = connect_redis(Secret(servers.valkey.url), reply_seconds=60.0)
    database = await connect_postgres(Secret(servers.postgres.url), application="loadtest")
    try:
        await database.execute(ACCOUNTS, load.accounts)
        await database.execute(KEYS, KEYS_PER_ACCOUNT)
        start = await _start_cost(servers, load)
        await _settle(redis, _events(load))
        before, began = servers.cpu_seconds(), time.monotonic()
        with _metering(servers, load) as process:
            await _until_empty(redis)
            seconds = time.monotonic() - began
            metering = usage_of([process.pid])
            after = servers.cpu_seconds()  # Before its connections, and with them their processes, are gone.
        await _require_all(database, load)
    finally:
        await redis.aclose()
        await database.close()
    own, postgres, valkey = (
        spent * 1e6 / load.events
        for spent in (metering.cpu_seconds - start, after[0] - before[0], after[1] - before[1])
    )
    return Result(
        load=load,
        seconds=round(seconds, 2),
        events_per_second=round(load.events / seconds),
        events_per_second_and_core=round(1e6 / own),
        metering_us=round(own, 1),
        postgres_us=round(postgres, 1),
        valkey_us=round(valkey, 1),
        metering_rss_mib=metering.rss_bytes >> 20,
    )


def _metering(servers: Servers, load: Load) -> subprocess.Popen[bytes]:
    environment = {
        "DATABASE_URL": servers.postgres.url,
        "REDIS_URL": servers.valkey.url,
        "REDIS_SHARDS": str(SHARDS),
        "METERING_BATCH_SIZE": str(load.batch_size),
        "METERING_CONSUMERS": str(load.consumers),
        "METERING_ADMIN_PORT": "0",
        "LOG_LEVEL": "ERROR",
    }
    return _Ended([sys.executable, "-m", "metering"], env=environment)


class _Ended(subprocess.Popen[bytes]):
    """Told to stop at the end of its `with` block."""

    def __exit__(self, *error: Any) -> None:
        self.terminate()
        super().__exit__(*error)


async def _start_cost(servers: Servers, load: Load) -> float:
    """CPU seconds of a metering process that has nothing to do."""
    with _metering(servers, load) as process:
        await asyncio.sleep(QUIET_SECONDS)
        return usage_of([process.pid]).cpu_seconds


def _events(load: Load) -> Iterator[UsageEvent]:
    dice = random.Random(load.events)
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(load.events):
        account = dice.randint(1, load.accounts)
        moment = now - timedelta(milliseconds=load.events - number)
        milliseconds = int(moment.timestamp() * 1000)
        yield UsageEvent(
            event_id=UUID(
                int=milliseconds << 80 | 7 << 76 | dice.getrandbits(12) << 64 | 2 << 62 | dice.getrandbits(62)
            ),
            occurred_at=moment.replace(microsecond=0),
            period=moment.date().replace(day=1),
            account_id=AccountId(account),
            key_id=KeyId((account - 1) * KEYS_PER_ACCOUNT + dice.randint(1, KEYS_PER_ACCOUNT)),
            model=dice.choice(["gpt-5", "gpt-5-mini", "claude-4"]),
            provider="openai",
            target="openai/gpt-5-2026-01-01",
            upstream_request_id=f"chatcmpl-{dice.getrandbits(144):036x}",
            usage=TokenUsage(
                input=dice.randint(1, 4_000), cache_read=dice.randint(0, 1_000), output=dice.randint(1, 900)
            ),
            weights=(1000, 100, 1250, 2000, 1000, 1000),
            price_version="2026-11-01",
            cost=dice.randint(1, 10**7),
            status=200,
            outcome=Outcome.COMPLETE,
            estimated="",
            attempt=1,
            stream=dice.random() < 0.7,
            latency_ms=dice.randint(100, 9_000),
            first_byte_ms=dice.randint(50, 900),
        )


async def _settle(redis: Redis, events: Iterator[UsageEvent]) -> None:
    sha = await redis.script_load(load_script("settle").text)
    pipeline = redis.pipeline(transaction=False)
    for event in events:
        keys = ReservationKeys.of(event.account_id, event.key_id, event.event_id, SHARDS)
        call = script_calls.settle_event(keys, event)
        pipeline.evalsha(sha, len(call.keys), *call.keys, *call.arguments)
        if len(pipeline) >= SETTLEMENTS_PER_PIPELINE:
            await pipeline.execute()
    await pipeline.execute()


async def _until_empty(redis: Redis) -> None:
    for shard in shards(SHARDS):
        while await redis.xlen(shard.usage_stream):  # noqa: ASYNC110  # Redis has no event for it.
            await asyncio.sleep(0.02)


async def _require_all(database: asyncpg.Connection, load: Load) -> None:
    recorded, counted = await database.fetchrow(
        "SELECT (SELECT count(*) FROM usage_events), (SELECT sum(requests) FROM usage_periods WHERE key_id = 0)"
    )  # type: ignore[misc]  # An aggregate always has its row.
    if not recorded == counted == load.events:
        raise SystemExit(f"of {load.events} events {recorded} were recorded and {counted} counted")


def run(load: Load) -> Result:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poindexter-ledger-")))
        directory.chmod(0o711)  # Postgres runs as nobody when we are root.
        servers = Servers(PostgresServer(directory / "postgres"), ValkeyServer(directory / "valkey"))
        for server in (servers.postgres, servers.valkey):
            server.start()
            stack.callback(server.stop)
        asyncio.run(migrate(Secret(servers.postgres.url)))
        return asyncio.run(measure(servers, load))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--batch-size", type=int, default=2_000)
    parser.add_argument("--consumers", type=int, default=2)
    result = run(Load(**vars(parser.parse_args())))
    print(f"{result.events_per_second:>9,} events/s on the wall clock ({result.seconds} s)")
    print(f"{result.events_per_second_and_core:>9,} events/s per core of metering")
    for name in ("metering", "postgres", "valkey"):
        print(f"{getattr(result, name + '_us'):>9} µs CPU per event in {name}")
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
