"""One of our own processes, as a row of the table in `processes` describes it."""

import contextlib
import http.client
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.servers.local_process import LocalProcess
from deploy.local.servers.pids import end_leftover
from deploy.local.servers.ports import LOOPBACK

PROBE_TIMEOUT_SECONDS = 2.0
LEFTOVER_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    name: str
    module: str
    arguments: tuple[str, ...] = ()
    """Started as `python -m <module> <arguments>`."""
    environment: Mapping[str, str] = field(repr=False)
    ready_port: int
    ready_path: str
    """Ready when a GET of this is answered with 200."""
    stop_seconds: float
    """How long it may take to finish what it is doing."""


class Service(LocalProcess):
    """`installation`, the state directory, shows in the command line: `end_leftovers` of a later run knows us by it."""

    def __init__(self, process: Process, *, log: Path, installation: Path) -> None:
        super().__init__(process.name, log, stop_seconds=process.stop_seconds)
        self._process = process
        self._pid_file = installation / f"{process.name}.pid"
        self._mark = _mark(installation)

    def start(self) -> None:
        """Returns at once; see `is_ready`."""
        self.kill()  # After a crash its workers may still hold the port.
        # -P: a directory that happens to be named `gateway` where we were started is not our gateway.
        child = self._launch(
            [sys.executable, "-P", "-X", self._mark, "-m", self._process.module, *self._process.arguments],
            environment=self._process.environment,
        )
        self._pid_file.write_text(f"{child.pid}\n")

    @property
    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._process.ready_port, timeout=PROBE_TIMEOUT_SECONDS)
        try:
            connection.request("GET", self._process.ready_path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, timeout: float | None = None) -> None:
        super().stop(timeout)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        super().kill()
        self._pid_file.unlink(missing_ok=True)


def end_leftovers(installation: Path) -> None:
    """End the processes of a run that was killed. Those of other installations are left alone."""
    for file in installation.glob("*.pid"):
        pid = int(file.read_text().strip() or 0)
        if end_leftover(pid, marker=_mark(installation), timeout=LEFTOVER_TIMEOUT_SECONDS):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # Its workers: each of our processes leads a group.
        file.unlink(missing_ok=True)


def _mark(installation: Path) -> str:
    return f"poindexter={installation}"
