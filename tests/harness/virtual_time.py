"""Time that passes at once, for code that waits for nothing but timers and its own tasks."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["in_virtual_time"]

Result = TypeVar("Result")


def in_virtual_time(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it on a loop whose `time()` is exact, whatever else the machine does: a wait of an hour lasts an hour on it,
    and no moment on the wall's clock."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class _Clock(selectors.DefaultSelector):
    """The loop sleeps in here until its next timer: that sleep is what is left out."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(timeout and 0)
