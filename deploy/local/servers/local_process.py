"""One program on this machine with its log: started, watched, stopped, killed, started again."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local.servers.child import Child, tail

POLL_SECONDS = 0.03


class LocalProcess:
    """
    What Postgres, Valkey and our own services have in common. A subclass says how it is started, and when it is ready.

    `stop_signal` asks it to end; SIGKILL follows `stop_seconds` later. At most one child at a time.
    """

    def __init__(
        self, name: str, log: Path, *, stop_seconds: float, stop_signal: signal.Signals = signal.SIGTERM
    ) -> None:
        self.name = name
        self.log = log
        self.stop_seconds = stop_seconds
        self._stop_signal = stop_signal
        self._child: Child | None = None
        self._log_offset = 0

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    @property
    def pids(self) -> tuple[int, ...]:
        """The process and its guard; empty when stopped."""
        return (self._child.pid, self._child.guard_pid) if self._child else ()

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before its first start; negative for a signal."""
        return self._child.exit_code() if self._child else None

    @property
    def log_tail(self) -> str:
        """The end of what this life of the process wrote to the log."""
        return tail(self.log, since=self._log_offset)

    def stop(self, timeout: float | None = None) -> None:
        """Returns when it has gone: asked first, killed after `timeout` (default `stop_seconds`)."""
        if self._child:
            self._child.stop(self._stop_signal, timeout=self.stop_seconds if timeout is None else timeout)
        self._child = None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._child:
            self._child.kill()
        self._child = None

    def send(self, number: signal.Signals) -> None:
        if self._child:
            self._child.send(number)

    def _launch(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        user: int | None = None,
        directory: Path | None = None,
    ) -> Child:
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._child = Child(
            command,
            environment=environment,
            log=self.log,
            user=user,
            directory=directory,
            stop_signal=self._stop_signal,
        )
        return self._child

    def _came_up(self, child: Child, answers: Callable[[], bool], deadline: float) -> bool:
        """False when it ended; its reason stands in the log. Raises TimeoutError when it runs and does not answer."""
        while time.monotonic() < deadline:
            if answers():
                return True
            if child.wait(POLL_SECONDS) is not None:
                self._child = None
                return False
        self.kill()
        raise TimeoutError
