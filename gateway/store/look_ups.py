"""
Questions that Redis can't answer: whose key this is, what an account may. Each is asked once, however many requests
wait for it, and all of them are bounded in number and in time: a Postgres that is away, slow or frozen delays
no request for longer than `seconds`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import asyncpg
import redis.exceptions

from gateway.errors import Unavailable

__all__ = ["LookUps"]

MAX_OPEN = 1_000
PAUSE_SECONDS = 1.0
"""After a look-up that took too long no other is begun: it would be refused as well, only later."""
TOO_SLOW = "The look-up takes too long. Please try again."

Answer = TypeVar("Answer")


class LookUps:
    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._pause_until = 0.0
        self._open: dict[Hashable, tuple[asyncio.Task[Any], float]] = {}

    async def ask(self, what: Hashable, question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """`what` tells questions apart: who asks the same one gets the same answer. Raises Unavailable."""
        task, deadline = self._open.get(what) or self._begin(what, question)
        # Not wait_for: whoever leaves must not cancel what others wait for, and a cancelled query answers no one.
        await asyncio.wait({task}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        if not task.done() or task.cancelled():
            raise Unavailable(TOO_SLOW, retry_after=PAUSE_SECONDS)
        try:
            return task.result()  # type: ignore[no-any-return]
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable("Keys and accounts can't be looked up right now.", retry_after=1.0) from error
        except redis.exceptions.RedisError as error:
            raise Unavailable("The account can't be opened right now.", retry_after=1.0) from error

    def _begin(
        self, what: Hashable, question: Callable[[], Coroutine[Any, Any, Any]]
    ) -> tuple[asyncio.Task[Any], float]:
        if len(self._open) >= MAX_OPEN:
            raise Unavailable("Too many keys are being looked up.", retry_after=1.0)
        loop = asyncio.get_running_loop()
        if loop.time() < self._pause_until:
            raise Unavailable(TOO_SLOW, retry_after=PAUSE_SECONDS)
        deadline = loop.time() + self._seconds
        task = loop.create_task(question())
        timer = loop.call_at(deadline, task.cancel)
        self._open[what] = task, deadline

        def ended(task: asyncio.Task[Any]) -> None:
            timer.cancel()
            del self._open[what]
            if task.cancelled():
                self._pause_until = loop.time() + PAUSE_SECONDS
            else:
                task.exception()  # Whoever asked may have left: it needs no "never retrieved" warning.

        task.add_done_callback(ended)
        return self._open[what]
