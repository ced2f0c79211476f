"""
The whole system as real processes that can be killed one by one: Postgres, Valkey, the simulators, two gateways and two
metering processes. What was killed comes back with its data, as an orchestrator would bring it back.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from core.migrations import migrate
from core.redis_keys import shards
from core.settings import Secret
from deploy.local.postgres import PostgresServer
from deploy.local.valkey import ValkeyServer
from metering.counters import Counters
from metering.reconciliation import Reconciliation
from tests.installation import SHARDS, Installation
from tests.isolation import run_on_fresh_loop
from tests.models_text import models_text
from tests.running_gateway import RunningGateway
from tests.simulated_upstream import SimulatedUpstream

GATEWAYS, METERS = 2, 2
GATEWAY_SETTINGS = {
    "GATEWAY_LEASE_SECONDS": "3",
    "GATEWAY_REDIS_SECONDS": "0.5",
    "GATEWAY_OFFLINE_EXPOSURE_USD": "0.05",
}
METERING_SETTINGS = {
    "METERING_CLAIM_IDLE_SECONDS": "1",
    "METERING_SWEEP_INTERVAL_SECONDS": "0.2",
    "METERING_ADMIN_PORT": "0",
}

UNSERVED = """
    SELECT event_id::text, estimated FROM usage_events WHERE NOT event_id::text = ANY($1::text[]) AND estimated = ''
"""
OVERSPENT = """
    SELECT account_id, charged_nano_usd, cap_nano_usd FROM usage_periods JOIN accounts USING (account_id)
    WHERE key_id = 0 AND charged_nano_usd > cap_nano_usd
"""


Wrap = Mapping[str, list[str]]
"""Module -> what is started in its place (`python -m ...`)."""


class World:
    """`wrap` changes how a module of ours is started: tests switch one guard off with it."""

    def __init__(self, directory: Path, *, wrap: Wrap | None = None) -> None:
        self.directory = directory
        self.record = directory / "served.jsonl"
        self._wrap = wrap or {}
        self.postgres = PostgresServer(directory / "postgres")
        self.valkey = ValkeyServer(directory / "valkey")
        self.postgres.start()
        self.valkey.start()
        self.upstream = SimulatedUpstream.start(record=self.record)
        run_on_fresh_loop(migrate, {"url": Secret(self.postgres.url)})
        self.installation = Installation(
            directory,
            database_url=self.postgres.url,
            redis_url=self.valkey.url,
            models=models_text(self.upstream.openai_url, self.upstream.anthropic_url),
        )
        self.gateways = [self._start_gateway(number) for number in range(GATEWAYS)]
        self.meters = [self._start_meter(number) for number in range(METERS)]
        self.kills = 0

    def kill(self, victim: str, pause: float) -> None:
        """kill -9 `valkey`, `postgres`, `gateway N` or `metering N`, and start it again after `pause` seconds."""
        self.kills += 1
        name, _, number = victim.partition(" ")
        match name:
            case "gateway":
                self._kill_gateway(int(number), pause)
            case "metering":
                self._kill_meter(int(number), pause)
            case _:
                server = self.valkey if name == "valkey" else self.postgres
                server.kill()
                time.sleep(pause)
                server.start()

    def come_to_rest(self, seconds: float) -> list[str]:
        """Wait until nothing is reserved, spooled or in a stream; says what is left after so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := self._unfinished()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def differences(self) -> list[str]:
        """Everything that contradicts the invariants; empty is the proof."""
        served = [orjson.loads(line) for line in self.record.read_bytes().splitlines()]
        return self.installation.at_the_office(lambda office: _differences(office.pool, office.redis, served))

    def close(self) -> None:
        self.installation.close()
        for gateway in self.gateways:
            gateway.kill()
        for meter in self.meters:
            meter.kill()
            meter.wait()
        self.upstream.stop()
        self.valkey.stop()
        self.postgres.stop()

    def _unfinished(self) -> list[str]:
        redis = self.installation.redis
        left = [f"{shard.usage_stream} holds events" for shard in shards(SHARDS) if redis.xlen(shard.usage_stream)]
        spooled = [path.name for path in self.installation.spool_directory.glob("*.spool")]
        return self.installation.held() + left + spooled

    def _kill_gateway(self, number: int, pause: float) -> None:
        self.gateways[number].kill()
        time.sleep(pause)
        self.gateways[number] = self._start_gateway(number)

    def _kill_meter(self, number: int, pause: float) -> None:
        self.meters[number].kill()
        self.meters[number].wait()
        time.sleep(pause)
        self.meters[number] = self._start_meter(number)

    def _start_gateway(self, number: int) -> RunningGateway:
        log = self.directory / f"gateway-{number}.log"
        settings = {**self.installation.settings, **GATEWAY_SETTINGS}
        return RunningGateway.start(settings, log, redis=False, command=self._command("gateway"))

    def _start_meter(self, number: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.installation.settings, **METERING_SETTINGS}  # noqa: TID251  # For the child.
        with (self.directory / f"metering-{number}.log").open("ab") as log:
            return subprocess.Popen(self._command("metering"), env=environment, stdout=log, stderr=log)

    def _command(self, module: str) -> list[str]:
        return [sys.executable, "-m", *self._wrap.get(module, [module])]


async def _differences(pool: Any, redis: Any, served: list[dict[str, Any]]) -> list[str]:
    reconciliation = Reconciliation(pool)
    since = datetime.now(UTC).date().replace(day=1)
    found = [str(difference) for difference in await reconciliation.upstream_differences(served)]
    found += [str(difference) for difference in await reconciliation.aggregate_differences(since)]
    counters = Counters(pool, redis, shard_count=SHARDS, now=lambda: datetime.now(UTC))
    found += [f"I7 {difference}" for difference in await counters.check()]
    # An estimate may stand for a request that died with its gateway on the way out; an exact count never.
    known = [str(call["client_request_id"]) for call in served]
    found += [f"I1 event {row['event_id']}: no upstream has served it" for row in await pool.fetch(UNSERVED, known)]
    for row in await pool.fetch(OVERSPENT):
        found.append(f"I6 account {row['account_id']} was charged {row['charged_nano_usd']} of {row['cap_nano_usd']}")
    waiting = await pool.fetchval("SELECT count(*) FROM usage_dead_letters")
    return found + ([f"{waiting} dead letters"] if waiting else [])
