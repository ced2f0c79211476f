"""A gateway's shared connection to Redis, without the gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from core.process.settings import Secret
from core.redis.lua_scripts import LuaScript
from gateway.store.redis_pipeline import RedisPipeline
from tests.harness.waiting import until

__all__ = ["connected", "running"]


@asynccontextmanager
async def running(
    url: str,
    scripts: Sequence[LuaScript],
    *,
    reply_seconds: float = 2.0,
    on_change: Callable[[bool], None] = lambda connected: None,
) -> AsyncIterator[RedisPipeline]:
    """It connects by itself, now or later."""
    redis = RedisPipeline(Secret(url), scripts, reply_seconds=reply_seconds, on_change=on_change)
    task = asyncio.create_task(redis.run())
    try:
        yield redis
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def connected(
    url: str, scripts: Sequence[LuaScript], *, reply_seconds: float = 2.0
) -> AsyncIterator[RedisPipeline]:
    async with running(url, scripts, reply_seconds=reply_seconds) as redis:
        await until(lambda: redis.connected)
        yield redis
