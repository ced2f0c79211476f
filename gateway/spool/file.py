"""
The files of the spool: lines of `spool_record`, appended and synced under the lock of the process that writes them.

A file's name begins with the time of its making, so that files sort as they were written. What can't be replayed moves
to `rejected/`, line for line, with a reason beside it: moved back, it is tried again.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import orjson

__all__ = ["SpoolFile", "adopt_files", "count_rejected", "create_file", "reject", "try_directory"]

SUFFIX = ".spool"
REJECTED = "rejected"


@dataclass(slots=True, eq=False)
class SpoolFile:
    """An open file whose lock we hold."""

    path: Path
    handle: FileIO
    ours: bool = True
    """False for one whose process is dead."""
    records: int = 0
    settlements: int = 0
    """Of the records, those that are no intents. Both are counted by the process that writes them."""

    def append(self, lines: bytes) -> None:
        """Returns when they are on the disk. Raises OSError; half a line may have been written then."""
        rest = memoryview(lines)
        while rest:
            rest = rest[self.handle.write(rest) :]
        os.fdatasync(self.handle.fileno())

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each with its place in the file. Raises OSError."""
        place = 0
        with self.path.open("rb") as reader:
            for line in reader:
                yield place, line
                place += len(line)

    def read(self, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """The lines at these places, of these lengths. Raises OSError."""
        with self.path.open("rb") as reader:
            return [os.pread(reader.fileno(), length, place) for place, length in places]

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.handle.close()

    def close(self) -> None:
        """Lets go of the lock: another process may adopt it."""
        self.handle.close()


def create_file(directory: Path) -> SpoolFile:
    """Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _new_name()
    handle = path.open("xb", buffering=0)  # What the disk refused must not be tried again by a later close.
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _sync_directory(directory)
    return SpoolFile(path, handle)


def adopt_files(directory: Path) -> tuple[list[SpoolFile], dict[str, str]]:
    """The files that no living process holds, oldest first, now held by us; and those that can't be opened, with the
    reason."""
    adopted: list[SpoolFile] = []
    refused: dict[str, str] = {}
    for path in sorted(directory.glob("*" + SUFFIX), key=_age):
        try:
            handle = path.open("rb", buffering=0)
        except FileNotFoundError:
            continue  # Another process has adopted and replayed it meanwhile.
        except OSError as error:
            refused[path.name] = str(error.strerror)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()  # Its process is alive.
            continue
        if path.exists():
            adopted.append(SpoolFile(path, handle, ours=False))
        else:
            handle.close()
    return adopted, refused


def reject(directory: Path, lines: Sequence[tuple[bytes, str]]) -> Path:
    """Put lines aside, each with the reason. On the disk when this returns. Raises OSError."""
    aside = directory / REJECTED
    aside.mkdir(parents=True, exist_ok=True)
    path = aside / _new_name()
    reasons = [orjson.dumps({"line": number, "reason": reason}) for number, (_, reason) in enumerate(lines, 1)]
    _write_synced(path.with_suffix(".reasons"), b"\n".join(reasons) + b"\n")
    _write_synced(path, b"".join(line if line.endswith(b"\n") else line + b"\n" for line, _ in lines))
    _sync_directory(aside)
    return path


def count_rejected(directory: Path) -> int:
    """Files of records put aside, by whichever process. Raises OSError."""
    return sum(1 for _ in (directory / REJECTED).glob("*" + SUFFIX))


def try_directory(directory: Path) -> None:
    """Do once what an outage of Redis will need. Raises OSError when the disk refuses."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f".{_new_name()}.try"  # Not a name that another process would adopt.
    try:
        _write_synced(path, b"written and removed\n")
        _sync_directory(directory)
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # Without it a power loss may forget the name of a new file.
    finally:
        os.close(descriptor)


def _new_name() -> str:
    return f"{time.time_ns():020}-{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"


def _age(path: Path) -> tuple[int, str]:
    """Names of the first form began with the process's number: those files go by their last change."""
    made, _, _ = path.name.partition("-")
    if len(made) == 20 and made.isdigit():
        return int(made), path.name
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name
