"""Starts services in order, keeps them alive, stops them in the opposite order."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from deploy.local.errors import ServiceFailed
from deploy.local.services.log_rotation import rotate_when_large

POLL_SECONDS = 0.1
FORCE = 2
LINES_SHOWN = 8
MOST_CHARACTERS_SHOWN = 240
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Service(Protocol):
    """`start` raises RuntimeError or OSError when it cannot; `exit_code` is None while it runs.

    `last_words` is the end of what its latest life wrote to `log`.
    """

    name: str
    log: Path
    stop_seconds: float

    def start(self) -> None: ...
    def stop(self, timeout: float) -> None: ...
    def kill(self) -> None: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def last_words(self) -> str: ...


class StopRequested(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM while we were starting."""


class ForcedStop(BaseException):
    """A second request: whatever is being waited for, don't."""


class StopSignals:
    """The first signal is noted and looked at where it is safe; the second raises ForcedStop wherever we are."""

    def __init__(self) -> None:
        self.count = 0
        for number in STOP_SIGNALS:
            # `nohup` ignores SIGHUP for us. A shell script ignores SIGINT for what it starts with `&`: not our wish.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    @property
    def requested(self) -> bool:
        return self.count > 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count == FORCE:
            raise ForcedStop


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a service may die within `window_seconds`, and how long to wait before each new start."""

    most: int = 5
    window_seconds: float = 60.0
    first_delay: float = 0.5
    longest_delay: float = 8.0

    def delay(self, deaths: Sequence[float], now: float) -> float | None:
        """Seconds until the next start; None to give up. `deaths` are the times of all deaths, the latest included."""
        recent = sum(1 for death in deaths if death > now - self.window_seconds)
        if recent > self.most:
            return None
        return min(self.longest_delay, self.first_delay * 2.0 ** (recent - 1))


@dataclass(slots=True)
class Watched:
    service: Service
    deaths: list[float] = field(default_factory=list)
    restart_at: float | None = None


class Supervisor:
    """Only the thread that made it may use it."""

    def __init__(self, stop_signals: StopSignals, say: Callable[[str], None], policy: RestartPolicy) -> None:
        self._stop_signals = stop_signals
        self._say = say
        self._policy = policy
        self._watched: list[Watched] = []

    def start(self, service: Service, ready_timeout: float) -> None:
        """Returns when it is ready. Raises ServiceFailed or StopRequested; `stop` ends it in any case."""
        if self._stop_signals.requested:
            raise StopRequested
        self._watched.append(Watched(service))
        service.start()
        deadline = time.monotonic() + ready_timeout
        while not service.is_ready:
            if self._stop_signals.requested:
                raise StopRequested
            if service.exit_code is not None:
                raise ServiceFailed(_obituary(service, "ended before it was ready"))
            if time.monotonic() > deadline:
                raise ServiceFailed(_obituary(service, f"is not ready after {ready_timeout:.0f} s"))
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Returns when a stop is requested. Raises ServiceFailed when a service dies too often."""
        while not self._stop_signals.requested:
            for watched in self._watched:
                self._look_after(watched)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Last started, first stopped: nobody loses a server it still needs. A second signal kills what is left."""
        try:
            while self._watched and self._stop_signals.count < FORCE:
                service = self._watched[-1].service
                self._say(f"Stopping {service.name}")
                service.stop(service.stop_seconds)
                self._watched.pop()
        except ForcedStop:
            pass
        for watched in reversed(self._watched):
            self._say(f"Killing {watched.service.name}")
            watched.service.kill()
        self._watched.clear()

    def _look_after(self, watched: Watched) -> None:
        with contextlib.suppress(OSError):  # A full disk: the services go on, and so do we.
            rotate_when_large(watched.service.log)
        if watched.restart_at is None:
            if watched.service.exit_code is not None:
                self._bury(watched, "died")
        elif time.monotonic() >= watched.restart_at:
            watched.restart_at = None
            try:
                watched.service.start()
            except (RuntimeError, OSError) as error:
                self._bury(watched, f"does not start again: {error}")

    def _bury(self, watched: Watched, how: str) -> None:
        now = time.monotonic()
        watched.deaths.append(now)
        delay = self._policy.delay(watched.deaths, now)
        if watched.service.exit_code == os.EX_CONFIG:
            raise ServiceFailed(_obituary(watched.service, f"{how} of its settings; it would do so again"))
        if delay is None:
            raise ServiceFailed(_obituary(watched.service, f"{how} {len(watched.deaths)} times; giving up"))
        self._say(f"{_obituary(watched.service, how)}\nStarting {watched.service.name} again in {delay:.1f} s")
        watched.restart_at = now + delay


def _obituary(service: Service, what: str) -> str:
    code = service.exit_code
    how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
    lines = service.last_words.splitlines()[-LINES_SHOWN:]
    last = "".join(f"\n  | {line[:MOST_CHARACTERS_SHOWN]}" for line in lines)
    return f"{service.name} {what}{how}. Log: {service.log}{last}"
