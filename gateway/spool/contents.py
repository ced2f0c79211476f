"""
What has to be replayed of all files together: one record for each event.

A request leaves several lines, in several files when the disk refused one of them: intents first, then its settlement.
A settlement counts for more than an intent, wherever it stands; of two alike, the later. The lines stay on the disk: an
index of their places is held in memory, a batch of them at a time is read.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from gateway.spool.file import SpoolFile
from gateway.spool.record import DamagedRecord, Record, UnknownRecord, read_record

__all__ = ["Contents", "Place"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the record of an event stands."""

    file: SpoolFile
    start: int
    length: int
    intent: bool

    @property
    def is_own_intent(self) -> bool:
        return self.intent and self.file.ours


@dataclass(slots=True)
class Contents:
    """Made by a thread: it reads every line."""

    files: list[SpoolFile]
    places: dict[str, Place] = field(default_factory=dict)
    """By the event's id, in the order in which they are to be sent."""
    unknown: list[tuple[bytes, str]] = field(default_factory=list)
    """Lines that this version can't read, with the reason."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Names of files that the disk does not give back, with the reason."""

    @classmethod
    def of(cls, files: Sequence[SpoolFile]) -> "Contents":
        contents = cls(list(files))
        for file in files:
            try:
                for start, line in file.lines():
                    contents._add(file, start, line)
            except OSError as error:
                contents.unreadable[file.path.name] = str(error.strerror)
                contents.places = {name: place for name, place in contents.places.items() if place.file is not file}
        return contents

    @property
    def readable(self) -> list[SpoolFile]:
        return [file for file in self.files if file.path.name not in self.unreadable]

    @staticmethod
    def read(places: Sequence[Place]) -> list[Record]:
        """The records at these places, in their order. Raises OSError."""
        return [
            read_record(line)
            for file, group in groupby(places, key=lambda place: place.file)
            for line in file.read([(place.start, place.length) for place in group])
        ]

    def _add(self, file: SpoolFile, start: int, line: bytes) -> None:
        try:
            record = read_record(line)
        except DamagedRecord as error:
            if line.strip():
                log.error("a spool record is lost", extra={"file": file.path.name, "at": start, "reason": str(error)})  # noqa: TRY400
            return
        except UnknownRecord as error:
            self.unknown.append((line, str(error)))
            return
        known = self.places.get(record.event_id)
        if known is not None:
            if record.intent and not known.intent:
                return
            del self.places[record.event_id]
        self.places[record.event_id] = Place(file, start, len(line), record.intent)
