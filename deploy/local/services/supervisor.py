"""Starts services in order, keeps them alive, stops them in the opposite order."""

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol

from core.process.exit_codes import WRONG_SETTINGS
from core.process.restart_policy import RestartPolicy, Restarts
from deploy.local.errors import ServiceFailed
from deploy.local.services.log_rotation import rotate_when_large

POLL_SECONDS = 0.1
FORCE = 2
LINES_SHOWN = 8
MAX_CHARACTERS_SHOWN = 240
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Service(Protocol):
    """`start` raises RuntimeError or OSError when it cannot; `exit_code` is None while it runs.

    `log_tail` is the end of what its latest life wrote to `log`.
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
    def log_tail(self) -> str: ...


class StopRequested(Exception):
    """Ctrl-C or SIGTERM while the services were starting."""


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


class Watched:
    """A service, its restarts, and when the next one is due."""

    def __init__(self, service: Service, policy: RestartPolicy) -> None:
        self.service = service
        self.restarts = Restarts(policy)
        self.restart_at: float | None = None


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
        self._watched.append(Watched(service, self._policy))
        service.start()
        deadline = time.monotonic() + ready_timeout
        while not service.is_ready:
            if self._stop_signals.requested:
                raise StopRequested
            if service.exit_code is not None:
                raise ServiceFailed(_describe_exit(service, "ended before it was ready"))
            if time.monotonic() > deadline:
                raise ServiceFailed(_describe_exit(service, f"is not ready after {ready_timeout:.0f} s"))
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Returns when a stop is requested. Raises ServiceFailed when a service dies too often."""
        while not self._stop_signals.requested:
            for watched in self._watched:
                self._look_after(watched)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Last started, first stopped: none loses a server it still needs. A second signal kills what is left."""
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
                self._record_exit(watched, "died")
        elif time.monotonic() >= watched.restart_at:
            watched.restart_at = None
            try:
                watched.service.start()
            except (RuntimeError, OSError) as error:
                self._record_exit(watched, f"does not start again: {error}")

    def _record_exit(self, watched: Watched, how: str) -> None:
        service, now = watched.service, time.monotonic()
        delay = watched.restarts.died(now)
        if service.exit_code == WRONG_SETTINGS:
            raise ServiceFailed(_describe_exit(service, f"{how} of its settings; it would do so again"))
        if delay is None:
            raise ServiceFailed(_describe_exit(service, f"{how} {watched.restarts.recent_deaths} times; giving up"))
        self._say(f"{_describe_exit(service, how)}\nStarting {service.name} again in {delay:.1f} s")
        watched.restart_at = now + delay


def _describe_exit(service: Service, what: str) -> str:
    code = service.exit_code
    how = "" if code is None else f" (signal {-code})" if code < 0 else f" (exit code {code})"
    lines = service.log_tail.splitlines()[-LINES_SHOWN:]
    last = "".join(f"\n  | {line[:MAX_CHARACTERS_SHOWN]}" for line in lines)
    return f"{service.name} {what}{how}. Log: {service.log}{last}"
