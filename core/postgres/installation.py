"""
What every process of an installation must agree on, kept in its database.

The number of shards decides which Redis keys and which usage stream belong to an account: two processes with different
numbers would each keep a cap of their own, and usage would lie in streams that are never read. The first process to
arrive stores the number; from then on another one is refused.
"""

import asyncio
import logging

import asyncpg

__all__ = ["WrongInstallation", "agree_on_shards", "agree_when_reachable"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

SHARDS = "redis_shards"

STORE = "INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
STORED = "SELECT value FROM installation WHERE name = $1"


class WrongInstallation(Exception):
    """This process is set up for another installation. The message says what to change."""


async def agree_on_shards(database: asyncpg.Pool | asyncpg.Connection, shard_count: int) -> None:
    """Store the number if none is, and compare. Raises WrongInstallation, or what asyncpg raises (UndefinedTableError:
    `poindexter migrate` has not run). A database that is read-only for a while still tells."""
    stored = await database.fetchval(STORED, SHARDS)
    if stored is None:
        await database.execute(STORE, SHARDS, str(shard_count))
        stored = await database.fetchval(STORED, SHARDS)
    if stored != str(shard_count):
        raise WrongInstallation(
            f"REDIS_SHARDS is {shard_count}, but this installation was created with {stored}: set REDIS_SHARDS={stored}"
        )


async def agree_when_reachable(pool: asyncpg.Pool, shard_count: int) -> None:
    """As `agree_on_shards`, after waiting for a Postgres that is away or not migrated. Raises WrongInstallation."""
    while True:
        try:
            return await agree_on_shards(pool, shard_count)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("the installation can't be checked yet", extra={"error": repr(error)})
        await asyncio.sleep(RETRY_SECONDS)
