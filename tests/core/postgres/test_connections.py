import asyncio
import socket
from collections.abc import Iterator

import pytest

from core.postgres import connections
from core.postgres.connections import connect_postgres, open_pool
from core.process.settings import Secret


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_pool_opens_while_postgres_is_away_and_works_when_it_is_there(database_url: str) -> None:
    away = await open_pool(Secret("postgresql://nobody@127.0.0.1:1/none"), max_connections=1, application="test")
    there = await open_pool(Secret(database_url), max_connections=1, application="test")

    assert await there.fetchval("SHOW timezone") == "UTC"

    away.terminate()
    await there.close()


async def test_postgres_that_does_not_answer_is_given_up(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
    url = Secret(f"postgresql://u:p@127.0.0.1:{silent_port}/x?sslmode=disable")

    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await connect_postgres(url, application="test")


async def test_a_pool_whose_postgres_does_not_answer_fails_when_it_is_used(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
    url = Secret(f"postgresql://u:p@127.0.0.1:{silent_port}/x?sslmode=disable")

    async with asyncio.timeout(5):
        pool = await open_pool(url, max_connections=2, application="test")
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1")
        pool.terminate()


async def test_a_statement_that_runs_too_long_is_cut(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STATEMENT_SECONDS", 0.2)
    pool = await open_pool(Secret(database_url), max_connections=1, application="test")

    with pytest.raises(TimeoutError):
        await pool.execute("SELECT pg_sleep(20)")

    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_session_says_whose_it_is(database_url: str) -> None:
    pool = await open_pool(Secret(database_url), max_connections=1, application="poindexter-test")

    assert await pool.fetchval("SHOW application_name") == "poindexter-test"

    await pool.close()


async def test_a_refused_connection_does_not_repeat_the_password() -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        await connect_postgres(Secret("postgresql://nobody:canary@127.0.0.1:1/none"), application="test")

    assert "canary" not in str(caught.value)
