import asyncio
import subprocess
import sys
from base64 import b64encode

import asyncpg
import pytest

from core.postgres import migrations
from core.postgres.migrations import ChangedMigration, Migration, migrate, pending_migrations, unknown_migrations
from core.process.settings import Secret
from tests.harness.servers import postgres

MIGRATE = """
import asyncio, sys
from core.postgres.migrations import migrate
from core.process.settings import Secret

sys.stdout.write("\\n".join(asyncio.run(migrate(Secret(sys.argv[1])))))
"""
ALL = [migration.name for migration in migrations.migrations()]


def use(monkeypatch: pytest.MonkeyPatch, *files: Migration) -> None:
    monkeypatch.setattr(migrations, "migrations", lambda: list(files))


async def tables(url: str) -> set[str]:
    async with postgres(url) as connection:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


async def test_an_empty_database_gets_everything_in_order(empty_database_url: str) -> None:
    applied = await migrate(Secret(empty_database_url))

    assert applied == ALL == sorted(ALL)
    assert {"accounts", "api_keys", "usage_events", "schema_migrations"} <= await tables(empty_database_url)


async def test_a_second_run_finds_nothing_to_do(empty_database_url: str) -> None:
    await migrate(Secret(empty_database_url))

    assert await migrate(Secret(empty_database_url)) == []


def test_files_are_numbered_without_a_gap() -> None:
    assert [name[:4] for name in ALL] == [f"{number:04d}" for number in range(1, len(ALL) + 1)]


def test_ten_processes_at_once_apply_each_file_once(empty_database_url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, empty_database_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(10)]

    outputs = [process.communicate(timeout=60)[0].decode() for process in processes]

    assert [process.returncode for process in processes] == [0] * 10
    assert sorted(name for output in outputs for name in output.splitlines()) == ALL


async def test_a_file_that_was_changed_after_it_was_applied_stops_the_start(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Migration("0001_first", "CREATE TABLE first (id int)"))
    await migrate(Secret(empty_database_url))
    use(
        monkeypatch,
        Migration("0001_first", "CREATE TABLE first (id bigint)"),
        Migration("0002_second", "CREATE TABLE second (id int)"),
    )

    with pytest.raises(ChangedMigration, match="0001_first"):
        await migrate(Secret(empty_database_url))

    assert "second" not in await tables(empty_database_url)


async def test_a_failing_file_leaves_nothing_behind_and_can_be_mended(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Migration("0001_first", "CREATE TABLE first (id int)")
    broken = Migration("0002_second", "CREATE TABLE second (id int); CREATE TABLE first (id int)")
    mended = Migration("0002_second", "CREATE TABLE second (id int)")

    use(monkeypatch, first, broken)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(Secret(empty_database_url))
    left = await tables(empty_database_url)
    use(monkeypatch, first, mended)
    applied = await migrate(Secret(empty_database_url))

    assert left == {"first", "schema_migrations"}
    assert applied == ["0002_second"]


async def test_a_failure_lets_go_of_the_lock(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Migration("0001_broken", "SELECT no_such_function()"))
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await migrate(Secret(empty_database_url))
    use(monkeypatch, Migration("0001_mended", "SELECT 1"))

    async with asyncio.timeout(10):
        assert await migrate(Secret(empty_database_url)) == ["0001_mended"]


async def test_what_is_pending_is_named_without_being_applied(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = Migration("9999_future", "CREATE TABLE future (id int)")
    use(monkeypatch, *migrations.migrations(), future)

    async with postgres(database_url) as connection:
        pending = await pending_migrations(connection)

    assert pending == [future]
    assert "future" not in await tables(database_url)


async def test_a_database_of_a_newer_version_is_left_as_it_is(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Migration("0001_first", "SELECT 1"), Migration("0002_second", "SELECT 2")
    use(monkeypatch, first, second)
    await migrate(Secret(empty_database_url))
    use(monkeypatch, first)

    assert await migrate(Secret(empty_database_url)) == []
    async with postgres(empty_database_url) as connection:
        assert await unknown_migrations(connection) == ["0002_second"]


async def test_letters_that_were_parked_before_amounts_counted_count_afterwards(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S2"""
    every = migrations.migrations()
    use(monkeypatch, *every[:2])
    await migrate(Secret(empty_database_url))
    event = b'{"v":99,"account":7,"key":70,"period":"2026-11-01"}'
    ids = [f"019a0000-0000-7000-8000-00000000000{number}" for number in range(3)]
    estimate = b'{"id":"%s","estimated":"gateway_lost","account":7,"key":70,"period":"2026-11-01"}' % ids[0].encode()
    entries = [
        (event, b"400"),
        (estimate, b"300"),
        (event, b"much"),
        (b"\xff{", b"5"),
        (b'{"account":"x","id":"%s"}' % ids[1].encode(), b"5"),
        (b'{"id":"%s"}' % ids[2].encode(), b"5"),
        (b'{"id":"no uuid"}', b"5"),
        (b"[]", b"5"),
    ]
    async with postgres(empty_database_url) as connection:
        for number, (wire, charged) in enumerate(entries):
            await connection.execute(
                "INSERT INTO usage_dead_letters (stream, entry_id, fields, reason)"
                " VALUES ('{s01}:usage', $1, jsonb_build_object('e', $2::text, 'c', $3::text), 'unreadable')",
                str(number),
                b64encode(wire).decode(),
                b64encode(charged).decode(),
            )

    use(monkeypatch, *every)
    await migrate(Secret(empty_database_url))

    async with postgres(empty_database_url) as connection:
        parked = await connection.fetch(
            "SELECT account_id, key_id, parked_nano_usd, version FROM usage_periods ORDER BY key_id"
        )
        nameless = await connection.fetchval("SELECT count(*) FROM usage_dead_letters WHERE account_id IS NULL")
        identified = await connection.fetch(
            "SELECT event_id::text, is_estimate FROM usage_dead_letters WHERE event_id IS NOT NULL ORDER BY 1"
        )
    assert [tuple(row) for row in parked] == [(7, 0, 700, 2), (7, 70, 700, 2)]
    assert nameless == 6
    assert [tuple(row) for row in identified] == [(ids[0], True), (ids[1], False), (ids[2], False)]
