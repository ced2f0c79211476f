"""A Valkey (or Redis) server of our own, on 127.0.0.1, with its append-only file in one directory."""

import secrets
import signal
import socket
import time
from pathlib import Path

from deploy.local.errors import ValkeyError
from deploy.local.servers.child import MINIMAL_PATH, Child, tail
from deploy.local.servers.pids import end_leftover
from deploy.local.servers.ports import LOOPBACK, free_port
from deploy.local.servers.programs import find_valkey

POLL_SECONDS = 0.02
PROBE_TIMEOUT_SECONDS = 2.0
LEFTOVER_TIMEOUT_SECONDS = 10.0
PORT_WAS_TAKEN = "Address already in use"
DAMAGED = "reading the append only file"
REPAIR_TOOL = "valkey-check-aof"


class ValkeyServer:
    """
    Not running until `start`. Everything is kept: no eviction, and an append-only file that is synced every second.

    A killed process loses nothing; a power failure may cost the last second. The password stands in `valkey.conf`
    (0600), not on the command line, which every user of the machine can read.
    `port`: None takes a free one at the first start and keeps it for later starts of this object.
    """

    name = "valkey"
    stop_seconds = 20.0

    def __init__(
        self, data_directory: Path, port: int | None = None, *, log: Path | None = None, program: Path | None = None
    ) -> None:
        self.data_directory = data_directory.absolute()
        self.log = log or self.data_directory.with_name(f"{self.data_directory.name}.log")
        self.port = port or 0
        self._port_is_ours_to_choose = not port
        self._program = program
        self._child: Child | None = None
        self._log_offset = 0

    def start(self, timeout: float = 60.0) -> None:
        """Returns when the server answers, its data loaded. Raises ValkeyError."""
        if self.is_running:
            return
        deadline = time.monotonic() + timeout
        self._program = self._program or find_valkey()
        self.data_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.end_leftover()
        self.port = self.port or free_port()
        while not self._came_up(deadline):
            if not self._port_is_ours_to_choose or PORT_WAS_TAKEN not in self.last_words:
                raise ValkeyError(self._why_it_does_not_start())
            self.port = free_port()

    def stop(self, timeout: float = stop_seconds) -> None:
        """SIGTERM: the append-only file is written out first."""
        if self._child:
            self._child.stop(signal.SIGTERM, timeout=timeout)
        self._child = None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._child:
            self._child.kill()
        self._child = None

    def restart(self, timeout: float = 60.0) -> None:
        self.stop()
        self.start(timeout)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing is answered, as on a machine that swaps."""
        if self._child:
            self._child.send(signal.SIGSTOP)

    def resume(self) -> None:
        if self._child:
            self._child.send(signal.SIGCONT)

    def end_leftover(self) -> None:
        """A server of a killed run may still write to the same append-only file."""
        if self._pid_file.exists():
            pid = int(self._pid_file.read_text().strip() or 0)
            end_leftover(pid, marker=str(self._configuration_file), timeout=LEFTOVER_TIMEOUT_SECONDS)
            self._pid_file.unlink(missing_ok=True)

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    @property
    def pids(self) -> tuple[int, ...]:
        """The server and its guard; empty when stopped."""
        return (self._child.pid, self._child.guard_pid) if self._child else ()

    @property
    def is_ready(self) -> bool:
        return self.is_running and self._answers()

    @property
    def exit_code(self) -> int | None:
        return self._child.exit_code() if self._child else None

    @property
    def last_words(self) -> str:
        """The end of what this life of the server wrote to the log."""
        return tail(self.log, since=self._log_offset)

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

    def _came_up(self, deadline: float) -> bool:
        """False when the process ended; its reason stands in the log."""
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._write_configuration()
        self._child = Child(
            [str(self._program), self._configuration_file],
            environment={"PATH": MINIMAL_PATH, "LC_ALL": "C", "TZ": "UTC"},
            log=self.log,
            directory=self.data_directory,
        )
        while time.monotonic() < deadline:
            if self._answers():
                return True
            if self._child.wait(POLL_SECONDS) is not None:
                self._child = None
                return False
        self.kill()
        raise ValkeyError(f"Valkey started but did not answer in time:\n{self.last_words}")

    def _why_it_does_not_start(self) -> str:
        if DAMAGED not in self.last_words:
            return f"Valkey does not start on port {self.port}:\n{self.last_words}"
        reason = next(line for line in self.last_words.splitlines() if DAMAGED in line)
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
