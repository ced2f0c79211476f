"""
Waiting for what another task, process or server does. The suite's patience is here: a wait ends as soon as its
condition holds, so a long one costs only a test that fails.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 30.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.001, 0.02

NotYet = type[Exception] | tuple[type[Exception], ...]


def eventually(
    condition: Callable[[], object],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    max_pause: float = MAX_PAUSE_SECONDS,
    not_yet: NotYet = (),
) -> None:
    """Return when `condition` holds; an exception of `not_yet` says that it does not. Raises AssertionError.

    `max_pause` (seconds, between two looks) is for a condition that is expensive to ask."""
    wait = _Wait(what, seconds, max_pause)
    while True:
        try:
            if condition():
                return
        except not_yet:
            pass
        time.sleep(wait.pause())


async def until(
    condition: Callable[[], object | Awaitable[object]],
    what: str = "the condition",
    *,
    seconds: float = PATIENCE_SECONDS,
    not_yet: NotYet = (),
) -> None:
    """The same beside other tasks of this loop. `condition` may be a coroutine function."""
    wait = _Wait(what, seconds, MAX_PAUSE_SECONDS)
    while True:
        try:
            held = condition()
            if await held if inspect.isawaitable(held) else held:
                return
        except not_yet:
            pass
        await asyncio.sleep(wait.pause())


async def until_elsewhere(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """The same for a `condition` that blocks (a metric, a Redis command): a thread asks, and this loop goes on."""
    await asyncio.to_thread(eventually, condition, what, seconds=seconds)


class _Wait:
    def __init__(self, what: str, seconds: float, max_pause: float) -> None:
        self._what = what
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._pause = FIRST_PAUSE_SECONDS
        self._max_pause = max_pause

    def pause(self) -> float:
        """Seconds until the next look: short at first, for what is nearly there. Raises AssertionError."""
        if time.monotonic() > self._deadline:
            raise AssertionError(f"{self._what}: not within {self._seconds:g} s")
        self._pause = min(self._pause * 1.5, self._max_pause)
        return self._pause
