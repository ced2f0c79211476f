"""The directory that holds everything an installation on this machine keeps: `.poindexter/`."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import IO

from deploy.local.env_file import read_env_file
from deploy.local.errors import StateError
from deploy.local.servers.unprivileged import obstacle, server_user

ROOTS_SERVER_DATA = Path("/var/lib/poindexter")
"""Where Postgres keeps its data when root installs in a place that nobody else may enter, such as /root."""


class StateDirectory:
    """Nothing is created before `open`. Everything secret in it is readable by its owner only."""

    def __init__(self, path: Path, roots_server_data: Path = ROOTS_SERVER_DATA) -> None:
        self._roots_server_data = roots_server_data
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.valkey_data = self.path / "valkey"
        self.spool = self.path / "spool"
        self.demo_environment = self.path / "demo.env"
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Create it and take it for this process. Raises StateError when another one runs here."""
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            for directory in (self.logs, self.spool):
                directory.mkdir(mode=0o700, exist_ok=True)
            self._lock = self._take()
        except OSError as error:
            raise StateError(
                f"{error.filename or self.path} cannot be written: {error.strerror}. "
                "Free some space, mend the rights, or name another place with --state-directory."
            ) from error

    def close(self) -> None:
        if self._lock:
            self._lock.close()
        self._lock = None

    @property
    def postgres_data(self) -> Path:
        """Elsewhere when we are root and the user nobody, as whom Postgres must run, may not come here."""
        link = self.path / "postgres"
        user = server_user()
        if user is None or link.is_symlink() or link.exists() or obstacle(self.path, user) is None:
            return link.resolve()
        elsewhere = self._roots_server_data / hashlib.sha256(bytes(self.path)).hexdigest()[:12] / "postgres"
        elsewhere.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        link.symlink_to(elsewhere)
        return elsewhere

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def pepper(self) -> str:
        """`1:<64 hex digits>`, made at the first start. Raises StateError when it is lost: no key works without."""
        file = self.path / "pepper"
        if not file.exists():
            if self.demo_environment.exists():
                raise StateError(
                    f"{file} is missing. Every API key of this installation was made with it, and no key works without "
                    "it: restore it from a backup. To go on without those keys, remove "
                    f"{self.demo_environment} as well; a new pepper is made then."
                )
            write_private(file, f"1:{secrets.token_hex(32)}\n")
        return file.read_text().strip()

    def demo_settings(self) -> dict[str, str]:
        """What the last start left for clients and commands; nothing before the first. Raises StateError."""
        try:
            return read_env_file(self.demo_environment.read_text())
        except FileNotFoundError:
            return {}
        except (UnicodeDecodeError, ValueError) as error:
            raise StateError(
                f"{self.demo_environment} is damaged ({error}). Remove it: the next start writes it again."
            ) from error

    def remembered_ports(self) -> dict[str, int]:
        file = self.path / "ports.json"
        try:
            ports: dict[str, int] = json.loads(file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return ports

    def remember_ports(self, ports: dict[str, int]) -> None:
        write_private(self.path / "ports.json", json.dumps(ports, indent=1))

    def remove(self) -> None:
        """Everything, the data too."""
        self.open()
        data = self.postgres_data
        if data.is_relative_to(self._roots_server_data):
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(self.path)
        self.close()

    def _take(self) -> IO[str]:
        """The kernel lets go of the lock when we end, however we end."""
        lock = (self.path / "running.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            lock.close()
            raise StateError(
                f"Poindexter is running here already (process {pid}). Stop it with Ctrl-C or `kill {pid}`, or start "
                "another installation: poindexter up --state-directory OTHER --port 8081"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock


def write_private(file: Path, text: str) -> None:
    """Readable by the owner only, from its first byte on, and whole or not at all."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(file)


def main(arguments: list[str]) -> int:
    """`python -m deploy.local.state --remove`: what `make clean` calls."""
    state = StateDirectory(Path(".poindexter"))
    try:
        if arguments == ["--remove"] and state.path.exists():
            state.remove()
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
