"""The data directory of a PostgreSQL server, and the programs that work on it."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import PostgresError
from deploy.local.servers.child import MINIMAL_PATH
from deploy.local.servers.pids import command_line, is_alive
from deploy.local.servers.programs import PostgresPrograms, find_postgres
from deploy.local.servers.unprivileged import obstacle, server_user

SUPERUSER = "poindexter"
PROGRAM_TIMEOUT_SECONDS = 120.0

ENVIRONMENT = {"PATH": MINIMAL_PATH, "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of the caller's: PGDATA, PGPORT and the like would win over our options."""


class PostgresData:
    """Owned by the user nobody when we are root. Beside it stands `<name>.password`, readable by its owner only."""

    def __init__(self, directory: Path, programs: PostgresPrograms | None) -> None:
        self.directory = directory.absolute()
        self.user = server_user()
        self._found_programs = programs

    @property
    def programs(self) -> PostgresPrograms:
        if self._found_programs is None:
            self._found_programs = find_postgres().usable_by(self.user, self.beside("programs"))
        return self._found_programs

    @property
    def password(self) -> str:
        """Raises PostgresError when it is lost."""
        try:
            return self.beside("password").read_text().strip()
        except FileNotFoundError as error:
            raise PostgresError(
                f"{error.filename} is missing: it holds the password of the database in {self.directory}. Restore it, "
                "or move that directory away to begin with an empty database."
            ) from error

    def beside(self, suffix: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{suffix}")

    def prepare(self) -> None:
        """Create the data if there is none. Raises PostgresError when what is there cannot be used."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_unreachable_place()
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        elif not self.password:
            raise PostgresError(f"{self.beside('password')} is empty. Restore it.")
        self._refuse_other_version()

    def end_leftover(self) -> None:
        """A server of a killed run may still hold the data."""
        file = self.directory / "postmaster.pid"
        pid = file.read_text().partition("\n")[0] if file.exists() else ""
        if not pid.isdigit():
            return
        if str(self.directory) in command_line(int(pid)):
            for mode in ("fast", "immediate"):
                if file.exists():
                    self.run("pg_ctl", "stop", "-D", self.directory, "-m", mode, "-t", "10")
        elif is_alive(int(pid)):
            file.unlink(missing_ok=True)  # The number belongs to another program since a reboot; Postgres would refuse.
        # Otherwise the file stays: by it Postgres finds out whether children of the dead server still hold its memory.

    def run(
        self, program: str, *arguments: str | Path, timeout: float = PROGRAM_TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """A program of Postgres, as the user who owns the data. Raises PostgresError when it takes too long."""
        try:
            return subprocess.run(  # noqa: S603 Postgres's own programs
                [str(self.programs.directory / program), *map(str, arguments)],
                env=ENVIRONMENT | {"PGPASSWORD": self.password, "PGSSLMODE": "disable", "PGCONNECT_TIMEOUT": "3"},
                cwd="/",
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PostgresError(f"{program} did not end within {timeout:.0f} s on {self.directory}") from error

    def _refuse_unreachable_place(self) -> None:
        blocking = obstacle(self.directory.parent, self.user) if self.user is not None else None
        if blocking:
            raise PostgresError(
                f"As root we run PostgreSQL as the user nobody, who may not enter {blocking}. "
                f"Use a state directory outside it, or run as a normal user."
            )

    def _refuse_other_version(self) -> None:
        version = (self.directory / "PG_VERSION").read_text().strip()
        if version != self.programs.major_version():
            raise PostgresError(
                f"{self.directory} was made by PostgreSQL {version}, but the programs in "
                f"{self.programs.directory} are version {self.programs.major_version()}. "
                f"Install version {version}, or move the directory away."
            )

    def _initialise(self) -> None:
        """Made under another name and then renamed: a data directory that exists is a whole one."""
        if self.directory.exists() and any(self.directory.iterdir()):
            raise PostgresError(f"{self.directory} holds something that is no PostgreSQL data. Move it away.")
        unfinished = self.beside("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_password()
        unfinished.mkdir(mode=0o700)
        self._hand_over(unfinished)
        locale = "C.UTF-8" if os.uname().sysname == "Linux" else "C"
        access: list[str | Path] = ["-A", "scram-sha-256", "-U", SUPERUSER, "--pwfile", self.beside("password")]
        made = self.run("initdb", "-D", unfinished, *access, "--encoding=UTF8", f"--locale={locale}", "--no-sync")
        if made.returncode:
            raise PostgresError(f"initdb could not create {self.directory}:\n{made.stderr}")
        unfinished.rename(self.directory)

    def _write_password(self) -> None:
        file = self.beside("password")
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
        self._hand_over(file)

    def _hand_over(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user, self.user)
