"""
The metering process: `python -m metering`.

It starts while Postgres or Redis are away and begins to work when they are there. SIGTERM and SIGINT: every loop ends
its round (a batch in hand is committed and confirmed), then the process exits with 0.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import uvloop
from prometheus_client import disable_created_metrics
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.postgres.connections import open_pool
from core.postgres.installation import WrongInstallation, agree_when_reachable
from core.postgres.migrations import migrations, pending_migrations
from core.process.admin_port import Check, admin_application, all_ready, serve_admin
from core.process.exit_codes import FAILED, OK
from core.process.failpoints import Failpoints
from core.process.listener import CannotListen, open_listener
from core.process.logs import configure_logs
from core.process.settings import SettingsError, load
from core.process.startup import refuse, warn_of_unknown_names
from core.process.worker_loop import WorkerLoop
from core.redis.connections import connect_redis
from core.redis.keys import ShardKeys, shards
from metering.gauges import Gauges
from metering.ingest.consumer import Consumer
from metering.ingest.dead_letters import DeadLetters
from metering.ingest.stream import UsageStreams
from metering.ledger.entries import TimeBounds
from metering.ledger.ledger import Ledger
from metering.ledger.partitions import Partitions
from metering.metrics import FAILED_ROUNDS
from metering.repair.counter_watch import CounterWatch
from metering.repair.counters import Counters
from metering.repair.sweeper import Sweeper
from metering.settings import MeteringSettings, shard_numbers

log = logging.getLogger("metering")

NAME = "Metering"
PARTITION_SECONDS = 3600.0
GAUGE_SECONDS = 5.0
FORGET_SECONDS = 600.0
"""A consumer that has been silent for so long is dead: a living one reads every half second."""
SERVER_LOOK_SECONDS = 1.0
MAX_COUNTED = 2_000
"""Entries of a shard: with more waiting, the consumers need the processor more than the check of the counters does."""
OTHER_CONNECTIONS = 4
"""To Postgres, beside one for each consumer."""


class Metering:
    """Everything that runs in the process, put together once."""

    def __init__(self, settings: MeteringSettings, pool: asyncpg.Pool, redis: Redis, failpoints: Failpoints) -> None:
        self._settings = settings
        self._pool = pool
        self._redis = redis
        self._failpoints = failpoints
        self._partitions = Partitions(pool)
        self._ledger = Ledger(pool, self._partitions, failpoints)
        every = shards(settings.redis_shards)
        self._shards = [every[number] for number in shard_numbers(settings.metering_shards, settings.redis_shards)]
        self._counters = Counters(
            pool, redis, shard_count=settings.redis_shards, now=_now, only=self._shards, max_stream_length=MAX_COUNTED
        )
        parts = min(settings.metering_consumers, len(self._shards))
        self._streams = [self._stream(number, self._shards[number::parts]) for number in range(parts)]

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        checks: dict[str, Check] = {"postgres": self._check_schema, "redis": self._redis.ping}
        async with asyncio.TaskGroup() as tasks:
            application = admin_application(lambda: all_ready(checks))
            tasks.create_task(serve_admin(listener, application, stop))
            if not await self._agreed(stop):
                return
            for loop in self._loops():
                tasks.create_task(loop.run(stop), name=loop.name)
        with contextlib.suppress(RedisError, OSError):  # Without Redis our names stay behind in the groups, harmless.
            for streams in self._streams:
                await streams.leave()

    async def _agreed(self, stop: asyncio.Event) -> bool:
        """Nothing is read before the database confirms the number of shards. False when told to stop meanwhile.

        Raises WrongInstallation."""
        agreeing = asyncio.ensure_future(agree_when_reachable(self._pool, self._settings.redis_shards))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({agreeing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not agreeing.done():
            agreeing.cancel()
            return False
        agreeing.result()
        return True

    def _loops(self) -> list[WorkerLoop]:
        settings = self._settings
        watch = CounterWatch(self._redis, self._counters, check_seconds=settings.metering_counter_check_seconds)
        sweeper = Sweeper(
            self._redis, self._shards, self._failpoints, confirm_seconds=settings.metering_sweep_confirm_seconds
        )
        dead_letters = DeadLetters(self._pool, self._redis)
        gauges = Gauges(self._redis, self._shards, dead_letters, self._partitions, _now)
        loops = [
            _loop("sweeper", sweeper.round, settings.metering_sweep_interval_seconds),
            _loop("counters", watch.round, min(SERVER_LOOK_SECONDS, settings.metering_counter_check_seconds)),
            _loop("partitions", self._make_partitions, PARTITION_SECONDS),
            _loop("gauges", gauges.round, GAUGE_SECONDS),
            _loop("names", self._forget_dead, FORGET_SECONDS),
        ]
        # No pause between the rounds of a consumer: it waits in its read.
        return loops + [_loop("consumer", self._consumer(streams).round, 0.0) for streams in self._streams]

    def _stream(self, number: int, members: list[ShardKeys]) -> UsageStreams:
        name = f"{self._settings.metering_name}-{os.getpid()}-{number}"
        return UsageStreams(self._redis, members, consumer=name)

    def _consumer(self, streams: UsageStreams) -> Consumer:
        return Consumer(
            streams,
            self._ledger,
            batch_size=self._settings.metering_batch_size,
            claim_idle_seconds=self._settings.metering_claim_idle_seconds,
            bounds=self._bounds,
            failpoints=self._failpoints,
        )

    def _bounds(self) -> TimeBounds:
        settings = self._settings
        return TimeBounds.around(
            _now(), past_days=settings.metering_past_days, future_days=settings.metering_future_days
        )

    async def _forget_dead(self) -> bool:
        for streams in self._streams:
            await streams.forget_dead(silent_seconds=FORGET_SECONDS)
        return False

    async def _make_partitions(self) -> bool:
        await self._partitions.ensure_ahead(_now().date())
        return False

    async def _check_schema(self) -> None:
        async with self._pool.acquire() as connection:
            try:
                missing = await pending_migrations(connection)  # type: ignore[arg-type]  # A proxy of it.
            except asyncpg.UndefinedTableError:
                missing = migrations()
            read_only = await connection.fetchval("SELECT current_setting('transaction_read_only') = 'on'")
        if read_only:
            raise RuntimeError("the database is read-only: a standby, or default_transaction_read_only")
        if missing:
            names = ", ".join(item.name for item in missing)
            raise RuntimeError(f"the database lacks {names}: run `poindexter migrate`")


def _now() -> datetime:
    return datetime.now(UTC)


def _loop(name: str, work: Callable[[], Awaitable[bool]], interval: float) -> WorkerLoop:
    return WorkerLoop(name, work, interval=interval, on_failure=FAILED_ROUNDS.labels(name).inc)


async def run(settings: MeteringSettings, listener: socket.socket, failpoints: Failpoints) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connections = settings.metering_consumers + OTHER_CONNECTIONS
    pool = await open_pool(settings.database_url, max_connections=connections, application="poindexter-metering")
    redis = connect_redis(settings.redis_url)
    try:
        await Metering(settings, pool, redis, failpoints).run(listener, stop)
    finally:
        pool.terminate()
        await redis.aclose()


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Metering has no file to read again.
    try:
        settings = load(MeteringSettings, os.environ)
        shard_numbers(settings.metering_shards, settings.redis_shards)
        failpoints = Failpoints(os.environ.get("POINDEXTER_FAILPOINT", ""))
    except (SettingsError, ValueError) as error:
        return refuse(NAME, str(error).splitlines())
    try:
        listener = open_listener(settings.metering_admin_host, settings.metering_admin_port, setting="METERING_ADMIN")
    except CannotListen as error:
        sys.stderr.write(f"Metering {error}\n")
        return FAILED
    configure_logs(settings.log_level)
    warn_of_unknown_names(MeteringSettings, os.environ, "METERING_")
    disable_created_metrics()  # type: ignore[no-untyped-call]  # Twice the series, for nothing that we show.
    log.info("metering started", extra={"admin": "http://{}:{}".format(*listener.getsockname()[:2])})
    status = OK
    try:
        uvloop.run(run(settings, listener, failpoints))
    except* WrongInstallation as group:
        status = refuse(NAME, [str(group.exceptions[0])])
    log.info("metering stopped")
    return status


if __name__ == "__main__":
    sys.exit(main())
