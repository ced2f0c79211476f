import asyncio
import socket
import subprocess
import sys

import pytest
import redis
import uvloop

from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from tests.harness.isolation import ConnectionRefusedByTests, scrub
from tests.harness.leftovers import end
from tests.harness.servers import Databases, emptied, postgres, valkey

BEYOND = "192.0.2.1"
MONTH = """
    CREATE TABLE usage_events_2026_01 PARTITION OF usage_events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
"""


async def test_coroutine_tests_run_on_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


def test_a_database_is_as_new_for_the_next_test(databases: Databases) -> None:
    first = databases.take()
    asyncio.run(account_in(first))
    asyncio.run(execute(first, MONTH))
    databases.give_back(first)

    second = databases.take()

    assert second == first
    assert asyncio.run(account_in(second)) == 1
    assert asyncio.run(execute(second, MONTH)) is None
    databases.give_back(second)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE left_behind (number int)",
        "ALTER TABLE accounts DROP COLUMN name",
        "ALTER TABLE api_keys DROP CONSTRAINT api_keys_account_id_fkey",
        "DROP INDEX accounts_unpublished",
        "INSERT INTO schema_migrations (name, checksum) VALUES ('9999_future', '')",
        "ALTER DATABASE {name} SET synchronous_commit = off",
        MONTH + "ALTER TABLE usage_events DETACH PARTITION usage_events_2026_01",
    ],
)
def test_a_database_with_another_schema_is_nobodys(databases: Databases, change: str) -> None:
    first = databases.take()
    asyncio.run(execute(first, change.format(name=first.rpartition("/")[2].partition("?")[0])))
    databases.give_back(first)

    second = databases.take()

    assert second != first
    assert asyncio.run(account_in(second)) == 1
    databases.give_back(second)


async def execute(url: str, statement: str) -> None:
    async with postgres(url) as connection:
        await connection.execute(statement)


async def account_in(url: str) -> int:
    async with postgres(url) as connection:
        number: int = await connection.fetchval(
            "INSERT INTO accounts (name, plan) VALUES ('a', 'basic') RETURNING account_id"
        )
        return number


async def test_an_empty_database_has_no_tables(empty_database_url: str) -> None:
    async with postgres(empty_database_url) as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")

    assert tables == []


@pytest.mark.parametrize("repetition", [1, 2])
async def test_every_test_begins_with_an_empty_valkey(redis_url: str, repetition: int) -> None:
    async with valkey(redis_url) as client:
        keys_at_the_start = await client.dbsize()
        await client.set("left", b"by an earlier test")

    assert keys_at_the_start == 0


def test_servers_that_a_test_leaves_killed_are_back_for_the_next(
    postgres_server: PostgresServer, valkey_server: ValkeyServer, databases: Databases
) -> None:
    postgres_server.kill()
    valkey_server.pause()

    database_url, redis_url = databases.take(), emptied(valkey_server)

    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
    databases.give_back(database_url)


def test_a_socket_to_another_machine_is_refused() -> None:
    with socket.socket() as client, pytest.raises(ConnectionRefusedByTests, match=BEYOND):
        client.connect((BEYOND, 80))


@pytest.mark.parametrize("host", [BEYOND, "api.example.com"])
async def test_a_loop_connects_to_no_other_machine(host: str) -> None:
    with pytest.raises(ConnectionRefusedByTests, match=host):
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, 443)


def test_names_of_other_machines_are_not_looked_up() -> None:
    with pytest.raises(ConnectionRefusedByTests, match=r"api\.example\.com"):
        socket.getaddrinfo("api.example.com", 443)


def test_the_developers_settings_do_not_reach_the_tests() -> None:
    environment = {"DATABASE_URL": "a", "OPENAI_API_KEY": "b", "https_proxy": "c", "GATEWAY_PORT": "d", "PATH": "e"}

    scrub(environment)

    assert environment == {"PATH": "e"}


def test_a_forgotten_process_is_ended_and_named() -> None:
    forgotten = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    descriptions = end({forgotten.pid}, grace=0)

    assert [str(forgotten.pid) in description for description in descriptions] == [True]
    assert forgotten.wait() != 0
