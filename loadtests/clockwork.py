"""Ticks that arrive on time. The event loop's own timers know whole milliseconds only; Linux's timerfd knows better."""

import asyncio
import ctypes
import os
from collections.abc import Callable

__all__ = ["Clockwork"]

CLOCK_MONOTONIC = 1
NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSetting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


class Clockwork:
    """Calls `on_ticks(count)` in `loop`, `rate` times a second; `count` is above 1 when the loop was late."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float, on_ticks: Callable[[int], None]) -> None:
        self.interval = 1 / rate
        self._loop = loop
        self._on_ticks = on_ticks
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCKING)
        pause = _Timespec(*divmod(round(self.interval * 1e9), 1_000_000_000))
        setting = _TimerSetting(pause, pause)
        if self._descriptor < 0 or libc.timerfd_settime(self._descriptor, 0, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "no timerfd on this system")
        loop.add_reader(self._descriptor, self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> None:
        self._on_ticks(int.from_bytes(os.read(self._descriptor, 8), "little"))
