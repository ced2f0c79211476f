"""
Install the project into `.venv`: `python3 deploy/local/bootstrap.py [--dev]`, called by the Makefile.

Runs before anything is installed, so: standard library only, and a syntax that Python 3.6 reads, because an old Python
has to get as far as the sentence that says what is missing. Does nothing when `.venv` already holds what the lock file
asks for; an installation that was interrupted is begun again.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
OLDEST_PYTHON = (3, 11)
MEGABYTE = 1024 * 1024
LOCKS = {"local": "requirements-local.lock", "dev": "requirements-dev.lock"}
DISK_NEEDED = {"local": 400 * MEGABYTE, "dev": 800 * MEGABYTE}
SUFFICIENT = {"local": ("local", "dev"), "dev": ("dev",)}
"""Which installed variants serve a wish: the development environment holds everything that `make run` needs."""

CHECK_ENVIRONMENT = "import pip, sys; sys.version_info >= (3, 11) and print(sys.prefix)"

HINTS = (
    ("No space left on device", "The disk is full: free some space and run this again."),
    (
        "DO NOT MATCH THE HASHES",
        "A package is not the one that was locked. Nothing was installed; tell the maintainers.",
    ),
    (
        "No matching distribution found",
        "The index cannot be reached, or lacks a package for this system (no musl): check PIP_*.",
    ),
    ("connection", "The package index cannot be reached: check the network, or set PIP_INDEX_URL to a mirror."),
    ("Permission denied", "A file cannot be written. Does .venv belong to another user? `make clean` removes it."),
)
OTHERWISE = "Run this again; if it fails in the same way, run `make clean` first."


class CannotInstall(Exception):
    """The message says what to do."""


def main(arguments: "list[str]") -> int:
    variant = "dev" if "--dev" in arguments else "local"
    try:
        refuse(obstacle(sys.version_info[:2], missing_modules()))
        turn = take_turn(ROOT / ".poindexter")
        if not is_installed(ROOT, variant):
            refuse(lack_of_space(shutil.disk_usage(ROOT).free, DISK_NEEDED[variant]))
            install(ROOT, variant)
        turn.close()
    except CannotInstall as error:
        say(f"poindexter: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted. The next run begins the installation again.")
        return 130
    return 0


def refuse(problem: str) -> None:
    if problem:
        raise CannotInstall(problem)


def obstacle(version: "tuple[int, ...]", missing: "list[str]") -> str:
    """What this Python lacks, as a sentence that says what to do; empty when it will do."""
    if version < OLDEST_PYTHON:
        return (
            f"Python 3.11 or newer is needed; this is {version[0]}.{version[1]} ({sys.executable}). Install a newer "
            "one (apt install python3, brew install python) or name it: make run PYTHON=/path/to/python3.12"
        )
    if missing:
        package = f"python{version[0]}.{version[1]}-venv"
        return f"This Python lacks {' and '.join(missing)}. On Debian and Ubuntu: apt install {package}"
    return ""


def lack_of_space(free: int, needed: int) -> str:
    if free >= needed:
        return ""
    return (
        f"The installation needs about {needed // MEGABYTE} MB, and only {free // MEGABYTE} MB are free in {ROOT}. "
        "Free some space and run this again."
    )


def missing_modules() -> "list[str]":
    """Debian ships Python without these; they come as a package of their own."""
    return [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]


def take_turn(directory: Path) -> "IO[str]":
    """`make run` and `make test` at once must not install over each other. The turn ends with the file or process."""
    try:
        directory.mkdir(mode=0o711, exist_ok=True)
        turn = (directory / "bootstrap.lock").open("w")
    except OSError as error:
        raise CannotInstall(f"{error.filename} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another installation is running here; waiting for it.")
        fcntl.flock(turn, fcntl.LOCK_EX)
    return turn


def is_installed(root: Path, variant: str) -> bool:
    """Whether `.venv` was completed from these very lock files, by a Python that still runs."""
    environment = root / ".venv"
    if (environment / "unfinished").exists() or not works(environment):
        return False
    return any(
        stamp(environment, name).exists() and stamp(environment, name).read_text() == fingerprint(root, name)
        for name in SUFFICIENT[variant]
    )


def works(environment: Path) -> bool:
    """False also when its Python was removed, or when the directory was moved here from elsewhere."""
    try:
        shown = subprocess.run(  # noqa: S603 our own environment
            [str(environment / "bin" / "python"), "-c", CHECK_ENVIRONMENT],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except OSError:
        return False
    return Path(shown.stdout.decode().strip() or "/") == environment


def stamp(environment: Path, variant: str) -> Path:
    return environment / f"installed-{variant}"


def fingerprint(root: Path, variant: str) -> str:
    """Changes with the lock file and with the project's own metadata: entry points are written at installation."""
    content = (root / LOCKS[variant]).read_bytes() + (root / "pyproject.toml").read_bytes()
    return hashlib.sha256(content).hexdigest()


def install(root: Path, variant: str) -> None:
    """Raises CannotInstall."""
    environment = root / ".venv"
    started = time.monotonic()
    if (environment / "unfinished").exists() or not works(environment):
        say(f"Creating .venv with Python {sys.version_info[0]}.{sys.version_info[1]}")
        run([sys.executable, "-m", "venv", "--clear", str(environment)])
    say(f"Installing {LOCKS[variant]} (the first time takes about a minute)")
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(root / LOCKS[variant])], environment / "unfinished")
    # Apart from the lock: an editable project has no hash, and pip refuses the two in one command.
    run([*pip, "--no-deps", "--no-build-isolation", "--quiet", "-e", str(root)], environment / "unfinished")
    stamp(environment, variant).write_text(fingerprint(root, variant))
    if (environment / "unfinished").exists():
        (environment / "unfinished").unlink()
    say(f"Installed in {time.monotonic() - started:.0f} s")


def run(command: "list[str]", unfinished: "Path | None" = None) -> None:
    """Shows each package as pip turns to it, and the last lines when pip fails.

    `unfinished` is the mark to set when pip begins to unpack: before that a failure leaves the environment as it was,
    after it a package may be there by half, which pip would later take for whole.
    """
    output = []  # type: list[str]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=str(ROOT)) as process:  # noqa: S603
        for raw in process.stdout or ():
            output.append(raw.decode(errors="replace").rstrip())
            words = output[-1].split()
            if words[:1] == ["Collecting"]:
                say(f"  {words[1]}")
            elif unfinished and words[:2] == ["Installing", "collected"]:
                unfinished.touch()
                say("  unpacking")
    if process.returncode:
        last = "\n  ".join(output[-12:])
        raise CannotInstall(f"`{' '.join(command[1:4])}` failed:\n  {last}\n{hint(last)}")


def hint(output: str) -> str:
    return next((advice for sign, advice in HINTS if sign.lower() in output.lower()), OTHERWISE)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
