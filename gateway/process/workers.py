"""
Several gateway processes behind one port: the parent opens the listening sockets, starts the workers with them, starts
a dead one again with a growing pause, and passes signals on. It serves nothing itself, so nothing can make it fail.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from core.process.exit_codes import OK, WRONG_SETTINGS
from core.process.restart_policy import RestartPolicy, Restarts

__all__ = ["Workers"]

log = logging.getLogger(__name__)

POLICY = RestartPolicy(first_delay=0.2, max_delay=10.0)


class Workers:
    """`run` returns the exit status of the whole when the last worker has ended."""

    def __init__(
        self,
        count: int,
        sockets: tuple[socket.socket, socket.socket],
        environment: Mapping[str, str],
        *,
        multiprocess_directory: Path,
    ) -> None:
        self._sockets = sockets
        self._environment = {**environment, "PROMETHEUS_MULTIPROC_DIR": str(multiprocess_directory)}
        self._workers = [_Worker(number) for number in range(count)]
        self._stopping = False
        self._failed = False
        self._signals: deque[int] = deque()

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Only noted: a handler may run while a worker is being started, and that one would never hear of it.
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        while not self._stopping or any(worker.process for worker in self._workers):
            self._obey()
            for worker in self._workers:
                self._look_after(worker)
            time.sleep(0.05)
        return WRONG_SETTINGS if self._failed else OK

    def _look_after(self, worker: "_Worker") -> None:
        if worker.process is None:
            if not self._stopping and time.monotonic() >= worker.start_at:
                worker.start(self._sockets, self._environment)
            return
        status = worker.process.poll()
        if status is None:
            return
        mark_process_dead(worker.process.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]
        worker.process = None
        if status == WRONG_SETTINGS:
            self._failed = True
            self._stop()
        if not self._stopping:
            pause = worker.died(time.monotonic())
            log.error("a gateway worker died", extra={"worker": worker.number, "status": status, "restart_in": pause})

    def _obey(self) -> None:
        while self._signals:
            if self._signals.popleft() == signal.SIGHUP:
                self._pass_on(signal.SIGHUP)
            else:
                self._stop()

    def _stop(self) -> None:
        """The first signal lets answers finish; the second, passed on, does not."""
        self._stopping = True
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)


class _Worker:
    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self._restarts = Restarts(POLICY)

    def start(self, sockets: tuple[socket.socket, socket.socket], environment: Mapping[str, str]) -> None:
        public, admin = (listener.fileno() for listener in sockets)
        # The child inherits this: until it knows what SIGHUP means, the signal waits instead of ending it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            self.process = subprocess.Popen(  # noqa: S603  # Our own interpreter and module.
                [sys.executable, "-m", "gateway", "--worker", str(public), str(admin), str(os.getpid())],
                env=dict(environment),
                pass_fds=(public, admin),
                start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once.
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def died(self, now: float) -> float:
        """Seconds until it is started again."""
        pause = self._restarts.died(now) or 0.0  # The policy never gives up.
        self.start_at = now + pause
        return pause
