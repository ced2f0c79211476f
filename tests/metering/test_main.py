import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from redis.exceptions import RedisError

from core.redis.keys import CONSUMER_GROUP, shards
from core.usage.usage_event import UsageEvent
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from tests.harness.waiting import until
from tests.metering.events import event, many
from tests.metering.process import MeteringProcess, metering_process
from tests.metering.workbench import SHARDS, Workbench, workbench

AWAY = (OSError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def drained(bench: Workbench) -> bool:
    return await bench.entries_left() == 0


async def all_recorded(bench: Workbench, events: list[UsageEvent]) -> bool:
    return await drained(bench) and len(await bench.recorded()) == len(events)


OTHERS_GO = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'poindexter-metering'
"""


async def ready(process: MeteringProcess) -> bool:
    return (await process.get("/readyz")).status_code == 200


@contextlib.asynccontextmanager
async def steady_load(bench: Workbench, events: list[UsageEvent]) -> AsyncIterator[asyncio.Task[None]]:
    """Settles the events one by one; a settlement that fails is tried again, as the gateway's spool does."""

    async def run() -> None:
        for item in events:
            while True:
                try:
                    await bench.settle(item)
                    break
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as tasks:
        yield tasks.create_task(run())


async def test_a_process_that_is_told_to_stop_under_load_ends_with_0_and_leaves_nothing_half_done(
    database_url: str, redis_url: str
) -> None:
    events = many(600)
    async with workbench(database_url, redis_url) as bench, metering_process(database_url, redis_url) as process:
        async with steady_load(bench, events):
            await until(lambda: bench.recorded())
            exit_code = await process.stop()
        recorded = await bench.recorded()
        left = await bench.entries_left()
        names: list[Any] = [
            consumer
            for shard in shards(SHARDS)
            for consumer in await bench.redis.xinfo_consumers(shard.usage_stream, CONSUMER_GROUP)
        ]

        assert exit_code == 0
        assert 0 < len(recorded) < 600
        assert len(recorded) + left == 600
        assert names == []


async def test_two_processes_share_the_work_and_a_third_takes_over_from_the_dead(
    database_url: str, redis_url: str
) -> None:
    events = many(800)
    async with (
        workbench(database_url, redis_url) as bench,
        metering_process(database_url, redis_url) as one,
        metering_process(database_url, redis_url, METERING_SHARDS="0-1") as two,
    ):
        async with steady_load(bench, events):
            await until(lambda: bench.recorded())
            one.kill()
            two.kill()
        async with metering_process(database_url, redis_url):
            await until(lambda: all_recorded(bench, events), "every event in the ledger", not_yet=AWAY)

        await bench.assert_everything_adds_up(events)


async def test_postgres_and_valkey_may_be_killed_and_restarted_under_load(
    database_url: str, redis_url: str, postgres_server: PostgresServer, valkey_server: ValkeyServer
) -> None:
    events = many(1_500)
    async with workbench(database_url, redis_url) as bench, metering_process(database_url, redis_url) as process:
        async with steady_load(bench, events):
            await until(lambda: bench.recorded())
            for server in (postgres_server, valkey_server, postgres_server):
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.start)
        await until(lambda: all_recorded(bench, events), "every event in the ledger", not_yet=AWAY)

        await bench.assert_everything_adds_up(events)
        assert process.exit_code is None


@pytest.mark.parametrize("which", ["postgres", "redis"])
async def test_it_starts_while_a_dependency_is_down_and_works_when_it_is_there(
    database_url: str, redis_url: str, postgres_server: PostgresServer, valkey_server: ValkeyServer, which: str
) -> None:
    server: PostgresServer | ValkeyServer = postgres_server if which == "postgres" else valkey_server
    item = event()
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(item)
        server.stop()
        async with metering_process(database_url, redis_url) as process:
            while_down = await process.get("/readyz")
            alive = await process.get("/healthz")
            await asyncio.to_thread(server.start)

            await until(lambda: ready(process))
            await until(lambda: drained(bench), "an empty stream", not_yet=AWAY)

            assert while_down.status_code == 503
            assert while_down.json()["checks"][which] != "ok"
            assert alive.status_code == 200
            assert await bench.recorded() == {str(item.event_id)}


async def test_a_redis_that_does_not_answer_turns_the_readiness_red(
    database_url: str, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with metering_process(database_url, redis_url) as process:
        await until(lambda: ready(process))
        valkey_server.pause()

        frozen = await process.get("/readyz")
        valkey_server.resume()

        assert frozen.json()["checks"]["redis"].startswith("TimeoutError")
        await until(lambda: ready(process))


async def test_a_database_that_takes_no_writes_turns_the_readiness_red(database_url: str, redis_url: str) -> None:
    """S23"""
    async with workbench(database_url, redis_url) as bench, metering_process(database_url, redis_url) as process:
        await until(lambda: ready(process))
        name = await bench.pool.fetchval("SELECT current_database()")
        await bench.pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await bench.pool.execute(OTHERS_GO)

        await until(lambda: refused_as(process, "read-only"))
        async with bench.pool.acquire() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await connection.execute(OTHERS_GO)

        await until(lambda: ready(process))


async def refused_as(process: MeteringProcess, text: str) -> bool:
    return text in (await process.get("/readyz")).text


async def test_a_database_without_its_tables_is_not_ready_and_says_what_to_do(
    empty_database_url: str, redis_url: str
) -> None:
    async with metering_process(empty_database_url, redis_url) as process:
        answer = await process.get("/readyz")

    assert answer.status_code == 503
    assert "poindexter migrate" in answer.json()["checks"]["postgres"]


async def test_the_metrics_count_what_happened(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench, metering_process(database_url, redis_url) as process:
        copied = event(estimated="client_gone")
        await bench.settle_all([copied, copied, event()])
        await bench.put(event(), e=b"{}")
        await until(lambda: drained(bench), "an empty stream", not_yet=AWAY)

        text = (await process.get("/metrics")).text

    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("poindexter_metering_"))
    assert lines['poindexter_metering_events_total{result="inserted"}'] == "2.0"
    assert lines['poindexter_metering_events_total{result="duplicate"}'] == "1.0"
    assert lines['poindexter_metering_events_total{result="dead_letter"}'] == "1.0"
    assert lines['poindexter_metering_estimated_events_total{reason="client_gone"}'] == "1.0"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"METERING_SHARDS": "0-99"}, "the shards are 0 to 3"),
        ({"METERING_BATCH_SIZE": "many"}, "METERING_BATCH_SIZE"),
        ({"POINDEXTER_FAILPOINT": "somewhere:soon"}, "after the colon stands a number"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
    ],
)
async def test_bad_settings_end_the_start_with_a_message(
    database_url: str, redis_url: str, environment: dict[str, str], message: str
) -> None:
    async with metering_process(database_url, redis_url, **environment) as process:
        await until(lambda: process.exit_code is not None)

        assert process.exit_code == os.EX_CONFIG
        assert message in process.log
        assert "Traceback" not in process.log


async def test_a_hang_up_of_the_terminal_does_not_end_it(database_url: str, redis_url: str) -> None:
    async with metering_process(database_url, redis_url) as process:
        await process.started()
        process.hang_up()

        assert (await process.get("/healthz")).json() == {"status": "ok"}
        assert await process.stop() == 0


async def test_a_port_in_use_ends_the_start_with_a_message(database_url: str, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with metering_process(database_url, redis_url, METERING_ADMIN_PORT=port) as process:
            await until(lambda: process.exit_code is not None)

            assert "Address already in use" in process.log
            assert "Traceback" not in process.log
