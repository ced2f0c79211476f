"""Calls of the scripts over redis-py; the gateway has a connection of its own for them."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from core.redis.lua_scripts import Call, load_script

__all__ = ["ScriptRunner"]


class ScriptRunner:
    """Loads a script when the server does not know it. Raises what redis-py raises."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts: dict[str, Any] = {}

    async def run(self, call: Call) -> Any:
        return await self._script(call)(keys=call.keys, args=call.arguments)

    async def run_all(self, calls: Iterable[Call]) -> list[Any]:
        """In one round trip, each by itself: Redis serves others in between. The first error is raised at the end."""
        return list(await (await self._pipeline(calls)).execute())

    async def run_all_to_disk(self, calls: Iterable[Call], *, wait_ms: int) -> bool:
        """The same, and wait until Redis has it on its disk. False: it has not. A server without an append-only file,
        or too old to be asked, is taken at its word."""
        pipeline = await self._pipeline(calls)
        pipeline.waitaof(1, 0, wait_ms)  # On the same connection: it waits for what that one has written.
        *replies, synced = await pipeline.execute(raise_on_error=False)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        if errors:
            raise errors[0]
        return isinstance(synced, Exception) or synced[0] > 0

    async def _pipeline(self, calls: Iterable[Call]) -> Any:
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            await self._script(call)(keys=call.keys, args=call.arguments, client=pipeline)
        return pipeline

    def _script(self, call: Call) -> Any:
        script = self._scripts.get(call.script)
        if script is None:
            script = self._scripts[call.script] = self._redis.register_script(load_script(call.script).text)
        return script
