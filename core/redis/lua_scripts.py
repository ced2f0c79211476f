"""
The Lua scripts in `core/redis/lua`, by name. Each script's header says what it takes, what it returns and why it is one
script. `script_calls` has a function for each that says the same in types; `ScriptRunner` runs its calls over redis-py.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Argument", "Call", "LuaScript", "ScriptRunner", "load_script"]

Argument = bytes | str | int


@dataclass(slots=True)  # Not frozen: a request makes three, and freezing them would triple what that costs.
class Call:
    """One call of a script. The replies are described in the scripts' headers."""

    script: str
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class LuaScript:
    name: str
    text: str

    @property
    def sha(self) -> str:
        """The name under which the server keeps it (EVALSHA)."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def load_script(name: str) -> LuaScript:
    return LuaScript(name, resources.files("core.redis").joinpath("lua", f"{name}.lua").read_text())


class ScriptRunner:
    """Loads a script when the server does not know it. Raises what redis-py raises."""

    def __init__(self, redis: "Redis") -> None:
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
