"""
The whole system as real processes that can be killed one by one: Postgres, Valkey, the simulators, two gateways and two
metering processes. What was killed comes back with its data, as an orchestrator would bring it back.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from core.postgres.migrations import migrate
from core.process.settings import Secret
from core.redis.keys import shards
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.programs import find_valkey
from deploy.local.servers.valkey import ValkeyServer
from deploy.services import Services
from metering.ingest.dead_letters import DeadLetters, Selection
from metering.proof.reconciliation import Reconciliation
from metering.repair.counters import Counters
from tests.harness.installation import SHARDS, Installation
from tests.harness.isolation import run_on_fresh_loop
from tests.harness.models_text import models_text
from tests.harness.ports import free_port
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import PATIENCE_SECONDS, eventually
from tests.system.machine_faults import MachineFaults
from tests.system.partition import Partition

Answer = TypeVar("Answer")

GATEWAYS = 2
SERVICES = ("gateway 0", "gateway 1", "metering 0", "metering 1")
LEASE_SECONDS = 3.0
GATEWAY_SETTINGS = {
    "GATEWAY_LEASE_SECONDS": str(LEASE_SECONDS),
    "GATEWAY_REDIS_SECONDS": "0.5",
    "GATEWAY_OFFLINE_EXPOSURE_USD": "0.05",
}
METERING_SETTINGS = {
    "METERING_CLAIM_IDLE_SECONDS": "1",
    "METERING_SWEEP_INTERVAL_SECONDS": "0.2",
    "METERING_SWEEP_CONFIRM_SECONDS": "2.5",
    "METERING_ADMIN_PORT": "0",
}

UNSERVED = """
    SELECT event_id::text, estimated FROM usage_events
    WHERE NOT event_id::text = ANY($1::text[]) AND estimated = '' AND (outcome <> 'released' OR charged_nano_usd > 0)
"""
OVERSPENT = """
    SELECT account_id, charged_nano_usd + parked_nano_usd AS charged, cap_nano_usd
    FROM usage_periods JOIN accounts USING (account_id)
    WHERE key_id = 0 AND charged_nano_usd + parked_nano_usd > cap_nano_usd
"""


Wrap = Mapping[str, list[str]]
"""Module -> what is started in its place (`python -m ...`)."""


class World:
    """`wrap` changes how a module of ours is started: tests switch one guard off with it."""

    def __init__(self, directory: Path, *, wrap: Wrap | None = None) -> None:
        self.directory = directory
        self.record = directory / "served.jsonl"
        self._wrap = wrap or {}
        self.postgres = PostgresServer(directory / "postgres", free_port())
        self.machine = MachineFaults(directory)
        """Valkey's."""
        self.valkey = ValkeyServer(directory / "valkey", free_port(), program=self.machine.under(find_valkey()))
        self.postgres.start()
        self.valkey.start()
        self.networks = {number: Partition(self.valkey.port) for number in range(GATEWAYS)}
        """Between each gateway and Valkey."""
        self.upstream = SimulatedUpstream.start(record=self.record)
        run_on_fresh_loop(migrate, {"url": Secret(self.postgres.url)})
        self.installation = Installation(
            directory,
            database_url=self.postgres.url,
            redis_url=self.valkey.url,
            models=models_text(self.upstream.openai_url, self.upstream.anthropic_url),
        )
        self.servers: dict[str, PostgresServer | ValkeyServer] = {"valkey": self.valkey, "postgres": self.postgres}
        self.gateways: dict[int, RunningGateway] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in SERVICES:
            self._start(name)
        self.kills = 0
        self.gateway_died = False

    def kill(self, victim: str, pause: float) -> None:
        """kill -9 `valkey`, `postgres`, `gateway N` or `metering N`, and start it again after `pause` seconds.

        `gateway N@PLACE` and `metering N@PLACE` start it anew, let it die at that failpoint, and start it again.
        """
        self.kills += 1
        name, _, place = victim.partition("@")
        if name in self.servers:
            self.servers[name].kill()
            time.sleep(pause)
            self.servers[name].start()
            return
        self.gateway_died = self.gateway_died or name.startswith("gateway")
        self._end(name)
        if place:
            self._start(name, failpoint=place)
            self._await_death(name)
            self._end(name)
        time.sleep(pause)
        self._start(name)

    def restart_gateway(self, number: int, *, output: Path) -> None:
        """In order, as at an update. From now on its log goes to `output`."""
        self.gateways[number].stop()
        self._start(f"gateway {number}", output=output)

    @contextlib.contextmanager
    def without_metering(self) -> Iterator[None]:
        """Killed, and started again at the end: what happens inside has only the stream to last in."""
        names = [name for name in SERVICES if name.startswith("metering")]
        for name in names:
            self._end(name)
        yield
        for name in names:
            self._start(name)

    def come_to_rest(self, seconds: float) -> list[str]:
        """Wait until nothing is reserved, spooled, in a stream or parked; says what is left after so many seconds."""

        def at_rest() -> bool:
            if not self._unfinished():
                return True
            self.ask(_replay_dead_letters)
            return False

        with contextlib.suppress(AssertionError):
            eventually(at_rest, "rest", seconds=seconds, max_pause=0.1)
        return self._unfinished()

    def differences(self) -> list[str]:
        """Everything that contradicts the invariants; empty is the proof."""
        served = [orjson.loads(line) for line in self.record.read_bytes().splitlines()]
        return self.ask(lambda services: _differences(services.pool, services.redis, served))

    def ask(self, work: Callable[[Services], Awaitable[Answer]]) -> Answer:
        """On fresh connections: those of before the storm are dead."""

        async def run() -> Answer:
            async with self.installation.services() as services:
                return await work(services)

        return asyncio.run(run())

    def close(self) -> None:
        self.installation.close()
        for name in SERVICES:
            self._end(name)
        for network in self.networks.values():
            network.close()
        self.upstream.stop()
        self.valkey.stop()
        self.postgres.stop()

    def _unfinished(self) -> list[str]:
        redis = self.installation.redis
        left = [f"{shard.usage_stream} holds events" for shard in shards(SHARDS) if redis.xlen(shard.usage_stream)]
        spooled = [path.name for path in self.installation.spool_directory.glob("*.spool")]
        return self.installation.held() + left + spooled

    def _end(self, name: str) -> None:
        service, _, number = name.partition(" ")
        if service == "gateway":
            self.gateways[int(number)].kill()
        else:
            self.processes[name].kill()
            self.processes[name].wait()

    def _await_death(self, name: str) -> None:
        try:
            self.processes[name].wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} never came to its failpoint") from None

    def _start(self, name: str, *, failpoint: str = "", output: Path | None = None) -> None:
        service, _, number = name.partition(" ")
        settings = {**self.installation.settings, "POINDEXTER_FAILPOINT": failpoint}
        log = self.directory / f"{service}-{number}.log"
        if service == "gateway":
            port = self.networks[int(number)].port
            settings |= GATEWAY_SETTINGS | {"REDIS_URL": self.valkey.url.replace(f":{self.valkey.port}", f":{port}")}
            gateway = RunningGateway.start(settings, log, redis=False, command=self._command("gateway"), output=output)
            self.gateways[int(number)] = gateway
            self.processes[name] = gateway.process
            return
        environment = {**os.environ, **settings, **METERING_SETTINGS}  # noqa: TID251  # For the child.
        with log.open("ab") as lines:
            command = self._command("metering")
            self.processes[name] = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines)

    def _command(self, module: str) -> list[str]:
        return [sys.executable, "-m", *self._wrap.get(module, [module])]


async def _replay_dead_letters(services: Services) -> None:
    """What an operator does when the ledger is open again."""
    await DeadLetters(services.pool, services.redis).replay(Selection())


async def _differences(pool: Any, redis: Any, served: list[dict[str, Any]]) -> list[str]:
    reconciliation = Reconciliation(pool)
    since = datetime.now(UTC).date().replace(day=1)
    found = [str(difference) for difference in await reconciliation.upstream_differences(served)]
    found += [str(difference) for difference in await reconciliation.aggregate_differences(since)]
    counters = Counters(pool, redis, shard_count=SHARDS, now=lambda: datetime.now(UTC))
    found += [f"I7 {difference}" for difference in await counters.check()]
    # An estimate may stand for a request that died with its gateway on the way out, and a void event, which costs
    # nothing, for one that was given back; an exact count never.
    known = [str(call["client_request_id"]) for call in served]
    found += [f"I1 event {row['event_id']}: no upstream has served it" for row in await pool.fetch(UNSERVED, known)]
    for row in await pool.fetch(OVERSPENT):
        found.append(f"I6 account {row['account_id']} was charged {row['charged']} of {row['cap_nano_usd']}")
    waiting = await DeadLetters(pool, redis).waiting()
    return found + ([f"{waiting.letters} dead letters"] if waiting.letters else [])
