"""S9: processes with different REDIS_SHARDS each kept a cap of their own, and usage lay in streams that nobody read."""

import asyncio

import asyncpg
import pytest

from core.postgres.connections import open_pool
from core.postgres.installation import WrongInstallation, agree_on_shards, agree_when_reachable
from core.process.settings import Secret
from tests.harness.servers import postgres


async def test_the_first_process_stores_the_number_and_another_number_is_refused(database_url: str) -> None:
    pool = await open_pool(Secret(database_url), max_connections=1, application="test")

    await agree_on_shards(pool, 16)
    await agree_on_shards(pool, 16)

    with pytest.raises(WrongInstallation, match=r"REDIS_SHARDS is 64, but .* created with 16: set REDIS_SHARDS=16"):
        await agree_on_shards(pool, 64)
    await pool.close()


async def test_of_many_that_arrive_at_once_one_number_wins(database_url: str) -> None:
    pool = await open_pool(Secret(database_url), max_connections=8, application="test")

    answers = await asyncio.gather(
        *(agree_on_shards(pool, count) for count in (1, 2, 3, 4) * 2), return_exceptions=True
    )

    assert answers.count(None) == 2
    assert all(isinstance(answer, WrongInstallation) for answer in answers if answer is not None)
    await pool.close()


async def test_a_read_only_database_still_refuses_another_number(database_url: str) -> None:
    """A gateway that starts while a standby answers would serve with counters of its own until the failover is over."""
    async with postgres(database_url) as connection:
        await agree_on_shards(connection, 16)
        await connection.execute("SET default_transaction_read_only = on")

        await agree_on_shards(connection, 16)
        with pytest.raises(WrongInstallation):
            await agree_on_shards(connection, 64)


async def test_a_database_without_tables_is_waited_for(empty_database_url: str) -> None:
    pool = await open_pool(Secret(empty_database_url), max_connections=1, application="test")
    waiting = asyncio.create_task(agree_when_reachable(pool, 16))
    with pytest.raises(asyncpg.UndefinedTableError):
        await agree_on_shards(pool, 16)

    await pool.execute("CREATE TABLE installation (name text PRIMARY KEY, value text NOT NULL)")

    await asyncio.wait_for(waiting, 10)
    await pool.close()
