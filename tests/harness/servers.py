"""
Real Postgres and Valkey for tests. One of each per pytest run, started by the first test that asks.

Fixtures (tests/conftest.py):

    def test_something(database_url: str, redis_url: str) -> None: ...

* `database_url`: a fresh, migrated database of this test's own. Dropped afterwards, open connections included.
* `empty_database_url`: the same without any table.
* `redis_url`: the run's one Valkey, emptied before the test: data, scripts, connections of earlier tests.
* `postgres_server`, `valkey_server`: the servers: `stop`, `kill`, `start`, `restart`, and for Valkey `pause`, `resume`.
  A test may leave one killed or paused: the URL fixtures bring it back, with its port and its data.
* `server_directory`: a fresh directory for a test's own servers. Unlike `tmp_path`, the user nobody may enter it.

`async def` tests run on a fresh uvloop loop each. There are no async fixtures; use context managers instead:

    async def test_something(database_url: str, redis_url: str) -> None:
        async with postgres(database_url) as connection, valkey(redis_url) as client: ...

Every test refuses connections and name look-ups beyond this machine, sees none of the developer's settings in its
environment, and its module fails when it leaves a process behind.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import redis
import redis.asyncio

from core.postgres.migrations import migrate
from core.process.settings import Secret
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer

CONNECT_TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


@asynccontextmanager
async def valkey(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Answers are bytes."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def enterable_directory() -> Iterator[Path]:
    """Postgres runs as nobody when we are root, and pytest's own temporary directories are closed to it."""
    directory = Path(tempfile.mkdtemp(prefix="poindexter-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


class Databases:
    """Fresh databases on one server, copied from a template that is migrated once."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = count(1)
        self._template: str | None = None

    def create_migrated(self) -> str:
        if self._template is None:
            self._template = self._create("template0")
            asyncio.run(_migrate(self._server.url_of(self._template)))
        return self._server.url_of(self._create(self._template))

    def create_empty(self) -> str:
        return self._server.url_of(self._create("template0"))

    def drop(self, url: str) -> None:
        """FORCE: a test that failed may still hold connections."""
        self._execute(f"DROP DATABASE {_name_in(url)} WITH (FORCE)")

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def _execute(self, statement: str) -> None:
        if not self._server.is_running:
            self._server.start()
        asyncio.run(_execute(self._server.url, statement))


def emptied(server: ValkeyServer) -> str:
    """The URL of the server, running and as if new. Clients of earlier tests that still listen are cut off."""
    server.resume()
    if not server.is_running:
        server.start()
    with redis.Redis.from_url(server.url, socket_timeout=CONNECT_TIMEOUT_SECONDS) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.flushall()
        client.script_flush()
        client.config_set("maxmemory", 0)
    return server.url


async def _migrate(url: str) -> None:
    await migrate(Secret(url))


async def _execute(url: str, statement: str) -> None:
    async with postgres(url) as connection:
        await connection.execute(statement)


def _name_in(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]
