"""A PostgreSQL server of our own, on 127.0.0.1, with its data in one directory."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from deploy.local.child import MINIMAL_PATH, Child, tail
from deploy.local.errors import PostgresError
from deploy.local.pids import command_line, is_alive
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.programs import PostgresPrograms, find_postgres
from deploy.local.unprivileged import obstacle, server_user

SUPERUSER = "poindexter"
INITDB_TIMEOUT_SECONDS = 120.0
QUERY_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.03
PORT_WAS_TAKEN = "could not create any TCP/IP sockets"
CHILDREN_STILL_THERE = "pre-existing shared memory block"


class PostgresServer:
    """
    Not running until `start`. Beside `data_directory` stand `<name>.password` (0600) and, unless given, the log.

    `port`: None takes a free one at the first start and keeps it for later starts of this object.
    `fsync=False` is for tests: faster, and it loses data with the machine's power, never with a killed process.
    As root the server runs as the user nobody, who must be able to reach `data_directory`.
    """

    name = "postgres"
    stop_seconds = 20.0

    def __init__(
        self,
        data_directory: Path,
        port: int | None = None,
        *,
        log: Path | None = None,
        fsync: bool = True,
        max_connections: int = 100,
        programs: PostgresPrograms | None = None,
    ) -> None:
        self.data_directory = data_directory.absolute()
        self.log = log or self._beside("log")
        self.port = port or 0
        self._port_is_ours_to_choose = not port
        self._fsync = fsync
        self._max_connections = max_connections
        self._user = server_user()
        self._found_programs = programs
        self._child: Child | None = None
        self._log_offset = 0

    def start(self, timeout: float = 60.0) -> None:
        """Returns when the server answers queries; creates the data first when there is none. Raises PostgresError."""
        if self.is_running:
            return
        deadline = time.monotonic() + timeout
        self._prepare_data()
        self.end_leftover()
        self.port = self.port or free_port()
        while not self._came_up(deadline):
            if self._port_is_ours_to_choose and PORT_WAS_TAKEN in self.last_words:
                self.port = free_port()
            elif CHILDREN_STILL_THERE not in self.last_words or time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL does not start on port {self.port}:\n{self.last_words}")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout: float = stop_seconds) -> None:
        """The fast way: running transactions are rolled back, everything committed is kept."""
        if self._child:
            self._child.stop(signal.SIGINT, timeout=timeout)
        self._child = None

    def kill(self) -> None:
        """SIGKILL, as a crash would: the next start recovers from the write-ahead log."""
        if self._child:
            self._child.kill()
        self._child = None

    def restart(self, timeout: float = 60.0) -> None:
        self.stop()
        self.start(timeout)

    def end_leftover(self) -> None:
        """A server of a killed run may still hold the data."""
        file = self.data_directory / "postmaster.pid"
        pid = file.read_text().partition("\n")[0] if file.exists() else ""
        if not pid.isdigit():
            return
        if str(self.data_directory) in command_line(int(pid)):
            for mode in ("fast", "immediate"):
                if file.exists():
                    self._run("pg_ctl", "stop", "-D", self.data_directory, "-m", mode, "-t", "10")
        elif is_alive(int(pid)):
            file.unlink(missing_ok=True)  # The number belongs to another program since a reboot; Postgres would refuse.
        # Otherwise the file stays: by it Postgres finds out whether children of the dead server still hold its memory.

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
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """`sslmode=disable`: asyncpg would look for a client certificate in a home that may not be readable."""
        return f"postgresql://{SUPERUSER}:{self._password()}@{LOOPBACK}:{self.port}/{database}?sslmode=disable"

    @property
    def _programs(self) -> PostgresPrograms:
        if self._found_programs is None:
            self._found_programs = find_postgres().usable_by(self._user, self._beside("programs"))
        return self._found_programs

    def _beside(self, suffix: str) -> Path:
        return self.data_directory.with_name(f"{self.data_directory.name}.{suffix}")

    def _password(self) -> str:
        return self._beside("password").read_text().strip()

    def _prepare_data(self) -> None:
        self.data_directory.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_unreachable_data()
        if not (self.data_directory / "PG_VERSION").exists():
            self._initialise()
        version = (self.data_directory / "PG_VERSION").read_text().strip()
        if version != self._programs.major_version():
            raise PostgresError(
                f"{self.data_directory} was made by PostgreSQL {version}, but the programs in "
                f"{self._programs.directory} are version {self._programs.major_version()}. "
                f"Install version {version}, or move the directory away."
            )

    def _refuse_unreachable_data(self) -> None:
        blocking = obstacle(self.data_directory.parent, self._user) if self._user is not None else None
        if blocking:
            raise PostgresError(
                f"As root we run PostgreSQL as the user nobody, who may not enter {blocking}. "
                f"Use a state directory outside it, or run as a normal user."
            )

    def _initialise(self) -> None:
        """Made under another name and then renamed: a data directory that exists is a whole one."""
        unfinished = self._beside("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self.data_directory, ignore_errors=True)  # Without PG_VERSION it holds no data.
        self._write_password()
        self._make_directory(unfinished)
        locale = "C.UTF-8" if os.uname().sysname == "Linux" else "C"
        access: list[str | Path] = ["-A", "scram-sha-256", "-U", SUPERUSER, "--pwfile", self._beside("password")]
        made = self._run("initdb", "-D", unfinished, *access, "--encoding=UTF8", f"--locale={locale}", "--no-sync")
        if made.returncode:
            raise PostgresError(f"initdb could not create {self.data_directory}:\n{made.stderr}")
        unfinished.rename(self.data_directory)

    def _write_password(self) -> None:
        file = self._beside("password")
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
        self._hand_over(file)

    def _make_directory(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self._hand_over(directory)

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def _came_up(self, deadline: float) -> bool:
        """False when the process ended; its reason stands in the log."""
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        self._child = Child(
            [self._programs.directory / "postgres", "-D", self.data_directory, *self._options()],
            environment=self._environment(),
            log=self.log,
            user=self._user,
            directory=Path("/"),
            farewell=signal.SIGINT,
        )
        while time.monotonic() < deadline:
            if self._answers():
                return True
            if self._child.wait(POLL_SECONDS) is not None:
                self._child = None
                return False
        self.kill()
        raise PostgresError(f"PostgreSQL started but did not answer in time:\n{self.last_words}")

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",  # The path of a socket may have 104 bytes only; TCP has no such limit.
            "max_connections": self._max_connections,
            "fsync": "on" if self._fsync else "off",
            "synchronous_commit": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    def _answers(self) -> bool:
        """One real query: an open port alone may mean a server that still recovers, or somebody else's."""
        client = ["-XAtq", "-h", LOOPBACK, "-p", str(self.port), "-U", SUPERUSER, "-d", "postgres", "-c", "select 1"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._run("psql", *client, timeout=QUERY_TIMEOUT_SECONDS).stdout.strip() == "1"
        return False

    def _run(
        self, program: str, *arguments: str | Path, timeout: float = INITDB_TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 Postgres's own programs
            [str(self._programs.directory / program), *map(str, arguments)],
            env=self._environment()
            | {"PGPASSWORD": self._password(), "PGSSLMODE": "disable", "PGCONNECT_TIMEOUT": "3"},
            cwd="/",
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @staticmethod
    def _environment() -> dict[str, str]:
        """Nothing of the caller's: PGDATA, PGPORT and the like would win over our options."""
        return {"PATH": MINIMAL_PATH, "LC_ALL": "C", "TZ": "UTC"}
