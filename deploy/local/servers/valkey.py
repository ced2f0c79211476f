"""A Valkey (or Redis) server of our own, on 127.0.0.1, with its append-only file in one directory."""

import secrets
import signal
import socket
import time
from pathlib import Path

from deploy.local.errors import ValkeyError
from deploy.local.servers.child import MINIMAL_PATH
from deploy.local.servers.local_process import LocalProcess
from deploy.local.servers.pids import end_leftover
from deploy.local.servers.ports import LOOPBACK, free_port
from deploy.local.servers.programs import find_valkey

STOP_SECONDS = 20.0
PROBE_TIMEOUT_SECONDS = 2.0
LEFTOVER_TIMEOUT_SECONDS = 10.0
PORT_WAS_TAKEN = "Address already in use"
DAMAGED = "reading the append only file"
REPAIR_TOOL = "valkey-check-aof"


class ValkeyServer(LocalProcess):
    """
    Not running until `start`. Everything is kept: no eviction, and an append-only file that is synced every second.

    A killed process loses nothing; a power failure may cost the last second. The password stands in `valkey.conf`
    (0600), not on the command line, which every user of the machine can read.
    `port`: None takes a free one at the first start and keeps it for later starts of this object.
    """

    def __init__(
        self, data_directory: Path, port: int | None = None, *, log: Path | None = None, program: Path | None = None
    ) -> None:
        self.data_directory = data_directory.absolute()
        # SIGTERM writes the append-only file out first.
        super().__init__(
            "valkey",
            log or self.data_directory.with_name(f"{self.data_directory.name}.log"),
            stop_seconds=STOP_SECONDS,
        )
        self.port = port or 0
        self._port_is_ours_to_choose = not port
        self._program = program

    def start(self, timeout: float = 60.0) -> None:
        """Returns when the server answers, its data loaded. Raises ValkeyError."""
        if self.is_running:
            return
        deadline = time.monotonic() + timeout
        self._program = self._program or find_valkey()
        self.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.end_leftover()
        self.port = self.port or free_port()
        while not self._starts(deadline):
            if not self._port_is_ours_to_choose or PORT_WAS_TAKEN not in self.log_tail:
                raise ValkeyError(self._why_it_does_not_start())
            self.port = free_port()

    def restart(self, timeout: float = 60.0) -> None:
        self.stop()
        self.start(timeout)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered, as on a machine that swaps."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.send(signal.SIGCONT)

    def end_leftover(self) -> None:
        """A server of a killed run may still write to the same append-only file."""
        if self._pid_file.exists():
            pid = int(self._pid_file.read_text().strip() or 0)
            end_leftover(pid, marker=str(self._configuration_file), timeout=LEFTOVER_TIMEOUT_SECONDS)
            self._pid_file.unlink(missing_ok=True)

    @property
    def is_ready(self) -> bool:
        return self.is_running and self._answers()

    @property
    def url(self) -> str:
        return f"redis://:{self._password()}@{LOOPBACK}:{self.port}/0"

    def _password(self) -> str:
        """Made at the first use and kept in a file of its own: the URL stays valid across restarts."""
        file = self.data_directory / "password"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text().strip()

    @property
    def _configuration_file(self) -> Path:
        return self.data_directory / "valkey.conf"

    @property
    def _pid_file(self) -> Path:
        return self.data_directory / "valkey.pid"

    def _starts(self, deadline: float) -> bool:
        self._write_configuration()
        child = self._launch(
            [str(self._program), self._configuration_file],
            environment={"PATH": MINIMAL_PATH, "LC_ALL": "C", "TZ": "UTC"},
            directory=self.data_directory,
        )
        try:
            return self._came_up(child, self._answers, deadline)
        except TimeoutError:
            raise ValkeyError(f"Valkey started but did not answer in time:\n{self.log_tail}") from None

    def _why_it_does_not_start(self) -> str:
        if DAMAGED not in self.log_tail:
            return f"Valkey does not start on port {self.port}:\n{self.log_tail}"
        reason = next(line for line in self.log_tail.splitlines() if DAMAGED in line)
        # The newest part was being written. Given the manifest, the tool would stop at the base, which is no text.
        newest = max((self.data_directory / "appendonlydir").glob("*.incr.aof"), key=lambda file: file.stat().st_mtime)
        tool = self.data_directory / REPAIR_TOOL
        tool.unlink(missing_ok=True)
        tool.symlink_to(self._program or find_valkey())  # The server is this tool, too, under another name.
        return (
            f"Valkey cannot read its append-only file: {reason.rpartition(' # ')[2]}\n"
            f"Keep a copy of {self.data_directory}, then cut the damaged part off and start again:\n"
            f"  {tool} --fix {newest}\n"
            "What is cut off and had not reached Postgres yet is lost: `poindexter reconcile` shows what is missing."
        )

    def _write_configuration(self) -> None:
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "dir": self.data_directory,
            "pidfile": self._pid_file,
            "daemonize": "no",
            "set-proc-title": "no",  # The command line keeps naming this file: that is how the next run knows us.
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",  # Anything else may evict the usage stream.
            "requirepass": self._password(),
        }
        self._configuration_file.touch(mode=0o600)
        self._configuration_file.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in settings.items()))

    def _answers(self) -> bool:
        """A PONG after the password: while the append-only file is being loaded, the answer is an error."""
        try:
            with socket.create_connection((LOOPBACK, self.port), PROBE_TIMEOUT_SECONDS) as connection:
                connection.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False


def _quoted(value: object) -> str:
    """As Valkey's configuration file reads it: a path may hold blanks."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
