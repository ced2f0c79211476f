"""A spool with a connection to Redis of its own, without the rest of a gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from core.principal import Principal
from core.redis.lua_scripts import load_script
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.spool import Spool
from gateway.store.cold_scopes import ColdScopes
from gateway.store.redis_pipeline import RedisPipeline
from tests.gateway.settlements import SHARDS
from tests.harness import pipelines

SCRIPTS = [load_script(name) for name in ("admit", "settle", "release")]


def pipeline(url: str) -> AbstractAsyncContextManager[RedisPipeline]:
    return pipelines.running(url, SCRIPTS)


def connected(url: str) -> AbstractAsyncContextManager[RedisPipeline]:
    return pipelines.connected(url, SCRIPTS)


@asynccontextmanager
async def running(spool: Spool) -> AsyncIterator[None]:
    task = asyncio.create_task(spool.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        let_go(spool)


class UnknownToPostgres(ColdScopes):
    """The accounts of these tests are in no database: there is nothing to publish."""

    def __init__(self, redis: RedisPipeline) -> None:
        self._pipeline = redis

    async def publish(self, principal: Principal) -> bool:
        return False


def spool_in(directory: Path, redis: RedisPipeline) -> Spool:
    return Spool(directory, redis, RecentSettlements(redis), UnknownToPostgres(redis), shard_count=SHARDS)


async def replay_all(directory: Path, redis: RedisPipeline) -> None:
    """As a process does that starts and ends."""
    await spool_in(directory, redis).finish(seconds=10)


def let_go(spool: Spool) -> None:
    """Of its files, as the end of its process does."""
    for file in [*spool._files(), *(file for sent in spool._backlog._sent for file in sent.files)]:
        file.close()
