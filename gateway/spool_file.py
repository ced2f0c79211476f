"""
The files of the spool: one record a line, each with a checksum, under the lock of the process that writes them.

A record is a call that Redis has to get. An *intent* is the ending of a request that is still under way, should nobody
be left to end it; a later record of the same event takes its place.
"""

import fcntl
import logging
import os
import zlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import orjson

from core.lua_scripts import Argument

__all__ = ["Record", "SpoolFile", "adopt_files", "create_file"]

log = logging.getLogger(__name__)

SUFFIX = ".spool"


@dataclass(frozen=True, slots=True)
class Record:
    """`arguments[0]` is the event's id."""

    script: str
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...]
    intent: bool = False

    @property
    def event_id(self) -> str:
        return str(self.arguments[0])

    def encode(self) -> bytes:
        texts = [argument.decode() if isinstance(argument, bytes) else argument for argument in self.arguments]
        line = orjson.dumps([self.script, self.keys, texts, self.intent])
        return b"%08x %b\n" % (zlib.crc32(line), line)


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """An open file whose lock we hold."""

    path: Path
    handle: FileIO

    def append(self, lines: bytes) -> None:
        """Returns when they are on the disk. Raises OSError; half a line may have been written then."""
        rest = memoryview(lines)
        while rest:
            rest = rest[self.handle.write(rest) :]
        os.fdatasync(self.handle.fileno())

    def read(self) -> list[Record]:
        """The newest record of each event, in order. Damaged lines (power loss) are skipped, loudly."""
        newest: dict[str, Record] = {}
        for number, line in enumerate(self.path.read_bytes().splitlines(), 1):
            checksum, _, text = line.partition(b" ")
            if checksum != b"%08x" % zlib.crc32(text):
                log.error("a spool record is damaged", extra={"file": self.path.name, "line": number})
                continue
            script, keys, arguments, intent = orjson.loads(text)
            record = Record(script, tuple(keys), tuple(arguments), intent)
            newest.pop(record.event_id, None)
            newest[record.event_id] = record
        return list(newest.values())

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.handle.close()

    def close(self) -> None:
        """Lets go of the lock: another process may adopt it."""
        self.handle.close()


def create_file(directory: Path) -> SpoolFile:
    """Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
    handle = path.open("xb", buffering=0)  # What the disk refused must not be tried again by a later close.
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # Without it a power loss may forget the file's name.
    finally:
        os.close(descriptor)
    return SpoolFile(path, handle)


def adopt_files(directory: Path) -> list[SpoolFile]:
    """The files that no living process holds, oldest first, now held by us."""
    adopted: list[SpoolFile] = []
    for path in sorted(directory.glob("*" + SUFFIX), key=_age):
        try:
            handle = path.open("rb", buffering=0)
        except FileNotFoundError:
            continue  # Another process has adopted and replayed it meanwhile.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()  # Its process is alive.
            continue
        if path.exists():
            adopted.append(SpoolFile(path, handle))
        else:
            handle.close()
    return adopted


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
