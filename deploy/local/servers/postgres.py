"""A PostgreSQL server of our own, on 127.0.0.1, with its data in one directory."""

import contextlib
import signal
import time
from pathlib import Path

from deploy.local.errors import PostgresError
from deploy.local.servers.local_process import POLL_SECONDS, LocalProcess
from deploy.local.servers.ports import LOOPBACK, free_port
from deploy.local.servers.postgres_data import ENVIRONMENT, SUPERUSER, PostgresData
from deploy.local.servers.programs import PostgresPrograms

QUERY_TIMEOUT_SECONDS = 5.0
STOP_SECONDS = 20.0
PORT_WAS_TAKEN = "could not create any TCP/IP sockets"
CHILDREN_STILL_THERE = "pre-existing shared memory block"


class PostgresServer(LocalProcess):
    """
    Not running until `start`. Beside `data_directory` stand `<name>.password` (0600) and, unless given, the log.

    `port`: None takes a free one at the first start and keeps it for later starts of this object.
    `fsync=False` is for tests: faster, and it loses data with the machine's power, never with a killed process.
    As root the server runs as the user nobody, who must be able to reach `data_directory`.
    """

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
        self._data = PostgresData(data_directory, programs)
        # SIGINT is the fast way: running transactions are rolled back, everything committed is kept.
        super().__init__(
            "postgres", log or self._data.beside("log"), stop_seconds=STOP_SECONDS, stop_signal=signal.SIGINT
        )
        self.port = port or 0
        self._port_is_ours_to_choose = not port
        self._fsync = fsync
        self._max_connections = max_connections

    def start(self, timeout: float = 60.0) -> None:
        """Returns when the server answers queries; creates the data first when there is none. Raises PostgresError."""
        if self.is_running:
            return
        deadline = time.monotonic() + timeout
        self._data.prepare()
        self._data.end_leftover()
        self.port = self.port or free_port()
        while not self._starts(deadline):
            if self._port_is_ours_to_choose and PORT_WAS_TAKEN in self.log_tail:
                self.port = free_port()
            elif CHILDREN_STILL_THERE not in self.log_tail or time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL does not start on port {self.port}:\n{self.log_tail}")
            time.sleep(POLL_SECONDS)

    def restart(self, timeout: float = 60.0) -> None:
        self.stop()
        self.start(timeout)

    def end_leftover(self) -> None:
        """Stop a server that a killed run has left on the same data."""
        self._data.end_leftover()

    @property
    def data_directory(self) -> Path:
        return self._data.directory

    @property
    def is_ready(self) -> bool:
        return self.is_running and self._answers()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """`sslmode=disable`: asyncpg would look for a client certificate in a home that may not be readable."""
        return f"postgresql://{SUPERUSER}:{self._data.password}@{LOOPBACK}:{self.port}/{database}?sslmode=disable"

    def _starts(self, deadline: float) -> bool:
        child = self._launch(
            [self._data.programs.directory / "postgres", "-D", self.data_directory, *self._options()],
            environment=ENVIRONMENT,
            user=self._data.user,
            directory=Path("/"),
        )
        try:
            return self._came_up(child, self._answers, deadline)
        except TimeoutError:
            raise PostgresError(f"PostgreSQL started but did not answer in time:\n{self.log_tail}") from None

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",  # The path of a socket may have 104 bytes only; TCP has no such limit.
            "max_connections": self._max_connections,
            # synchronous_commit and full_page_writes stay on: in tests, too, a commit has to survive kill -9.
            "fsync": "on" if self._fsync else "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        return [f"--{name}={value}" for name, value in settings.items()]

    def _answers(self) -> bool:
        """One real query: an open port alone may mean a server that still recovers, or somebody else's."""
        client = ["-XAtq", "-h", LOOPBACK, "-p", str(self.port), "-U", SUPERUSER, "-d", "postgres", "-c", "select 1"]
        with contextlib.suppress(PostgresError):
            return self._data.run("psql", *client, timeout=QUERY_TIMEOUT_SECONDS).stdout.strip() == "1"
        return False
