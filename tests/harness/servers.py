"""
Real Postgres and Valkey for tests. One of each per test process (a worker of `make test`), started by the first test
that asks.

Fixtures (tests/conftest.py):

    def test_something(database_url: str, redis_url: str) -> None: ...

* `database_url`: a migrated database without a row, of this test's own. Connections left open are cut off afterwards.
* `empty_database_url`: one without any table.
* `redis_url`: the process's one Valkey, emptied before the test: data, scripts, connections of earlier tests.
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

EMPTY = """
    DO $$
    DECLARE
        thing text;
    BEGIN
        PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
        FOR thing IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'usage_events'::regclass LOOP
            EXECUTE format('DROP TABLE %s', thing);
        END LOOP;
        FOR thing IN SELECT oid::regclass FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'
            AND pg_relation_size(oid) > 0
        LOOP
            EXECUTE format('TRUNCATE %s CASCADE', thing);
        END LOOP;
        FOR thing IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
            EXECUTE format('ALTER SEQUENCE %s RESTART', thing);
        END LOOP;
    END $$
"""
SCHEMA = """
    SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT format('%s.%s %s %s', relname, attname, atttypid, attnotnull) AS line
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0
        UNION ALL
        SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT format('%s %s', name, checksum) FROM schema_migrations
        UNION ALL
        SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid
        WHERE datname = current_database()
    ) AS lines
"""
"""Tables, indexes, constraints, functions, migrations and settings of a database, as one digest."""


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
    """
    Migrated databases on one server, each of one test at a time.

    What a test leaves is emptied for the next: a fresh copy of the template takes ten times as long. A database whose
    schema a test has changed is dropped, and the next is copied.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = count(1)
        self._template: str | None = None
        self._schema = ""
        self._unused: list[str] = []

    def take(self) -> str:
        """The URL of a migrated database without a row."""
        self._require_server()
        return self._server.url_of(self._unused.pop() if self._unused else self._copy_of_template())

    def give_back(self, url: str) -> None:
        self._require_server()
        try:
            unchanged = asyncio.run(_emptied(url)) == self._schema
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            unchanged = False
        if unchanged:
            self._unused.append(_name_in(url))
        else:
            self.drop(url)

    def create_empty(self) -> str:
        """The URL of a new database without a table."""
        return self._server.url_of(self._create("template0"))

    def drop(self, url: str) -> None:
        """FORCE: a test that failed may still hold connections."""
        self._execute(f"DROP DATABASE {_name_in(url)} WITH (FORCE)")

    def _copy_of_template(self) -> str:
        if self._template is None:
            self._template = self._create("template0")
            asyncio.run(migrate(Secret(self._server.url_of(self._template))))
            self._schema = asyncio.run(_emptied(self._server.url_of(self._template)))
        return self._create(self._template)

    def _create(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def _execute(self, statement: str) -> None:
        self._require_server()
        asyncio.run(_execute(self._server.url, statement))

    def _require_server(self) -> None:
        if not self._server.is_running:
            self._server.start()


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


async def _emptied(url: str) -> str:
    """Delete every row, and every month of the ledger; what is left of the schema, as a digest."""
    async with postgres(url) as connection:
        await connection.execute(EMPTY)
        return str(await connection.fetchval(SCHEMA))


async def _execute(url: str, statement: str) -> None:
    async with postgres(url) as connection:
        await connection.execute(statement)


def _name_in(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]
