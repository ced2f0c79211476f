"""A piece of work done again and again until the process is told to stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["WorkerLoop"]

log = logging.getLogger(__name__)


class WorkerLoop:
    """Runs `work` every `interval` seconds, or at once again as long as it returns True (there is more to do).

    A failure is logged and answered with a growing pause: the edge of the process is the one place that may catch
    everything. `on_failure` lets the owner count it.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[bool]],
        *,
        interval: float,
        max_pause: float = 10.0,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._work = work
        self._interval = interval
        self._max_pause = max_pause
        self._on_failure = on_failure

    async def run(self, stop: asyncio.Event) -> None:
        """Returns after the round during which `stop` was set; a round is never interrupted by it."""
        pause = 0.0
        while not stop.is_set():
            try:
                more = await self._work()
                pause = 0.0 if more else self._interval
            except Exception as error:  # noqa: BLE001  # The edge of a worker: the next round tries again.
                self._on_failure()
                pause = min(self._max_pause, max(self._interval, pause * 2, 0.1))
                log.warning(
                    "round failed", extra={"worker": self.name, "error": _text(error), "next_try_seconds": pause}
                )
            if pause:
                await _wait(stop, pause)


def _text(error: Exception) -> str:
    """`redis.ConnectionError: Error 111 connecting to …`: whose error it is and what it says. (redis-py's `repr` does
    neither.)"""
    library = type(error).__module__.partition(".")[0]
    name = type(error).__name__
    return f"{name if library == 'builtins' else f'{library}.{name}'}: {error}".removesuffix(": ")


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
