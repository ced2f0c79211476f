"""
The files of the spool that wait for Redis: those that this process has finished, and those of dead processes.

They are read together, one record for each event (`contents`), and sent (`replay`). A file stays some
seconds after that, until Redis cannot have lost what it took (`recent_settlements` says why). A record that Redis or
this version refuses for ever is put aside before its file goes; the rest goes on.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.spool.contents import Contents, Place
from gateway.spool.file import SpoolFile, adopt_files, reject
from gateway.spool.recent_settlements import KEEP_SECONDS
from gateway.spool.record import Record
from gateway.spool.replay import Replay
from gateway.store.redis_pipeline import RedisPipeline, RedisReplyError

__all__ = ["Backlog"]

log = logging.getLogger(__name__)

REPLAY_BATCH = 500
REASONS_LOGGED = 5

Carry = Callable[[list[Record]], Awaitable[None]]


@dataclass(slots=True)
class _Sent:
    """Files whose records were taken by one life of Redis."""

    files: list[SpoolFile]
    refused: list[tuple[bytes, str]]
    epoch: str
    at: float


class Backlog:
    def __init__(self, directory: Path, pipeline: RedisPipeline, replay: Replay) -> None:
        self._directory = directory
        self._pipeline = pipeline
        self._replay = replay
        self._files: list[SpoolFile] = []
        """Held, so that no other process adopts them."""
        self._contents = Contents([])
        """Of these files, when they were last looked at."""
        self._taken: dict[Place, str] = {}
        """What of them Redis has taken in this life, or why it never will. Not sent again when the rest has to wait."""
        self._taken_in = ""
        self._sent: list[_Sent] = []
        self._complained: set[str] = set()

    @property
    def files(self) -> list[SpoolFile]:
        return self._files

    def add(self, file: SpoolFile) -> None:
        """Take over a file that is finished."""
        self._files.append(file)

    async def send(self, intended: Callable[[str], bool], carry: Carry) -> None:
        """Send what the files hold, oldest first. Raises RedisAway or OSError: call again later.

        `intended` tells of a request of this process whether it goes on; `carry` writes its intent to the next file.
        """
        adopted, refused = await asyncio.to_thread(adopt_files, self._directory)
        self._complain(refused)
        self._files += adopted
        if self._contents.files != self._files:
            self._contents = await asyncio.to_thread(Contents.of, self._files)
            self._complain(self._contents.unreadable)
        contents, epoch = self._contents, self._pipeline.epoch
        if not contents.readable:
            self._contents = Contents([])  # What the disk does not give back now, it may next time.
            return
        if epoch != self._taken_in:
            self._taken, self._taken_in = {}, epoch
        refusals = await self._send(contents)
        own = [(event_id, place) for event_id, place in contents.places.items() if place.is_own_intent]
        if under_way := [place for event_id, place in own if intended(event_id)]:
            await carry(await asyncio.to_thread(contents.read, under_way))
        self._files = [file for file in self._files if file not in contents.readable]
        self._contents, self._taken = Contents([]), {}
        self._sent.append(_Sent(contents.readable, contents.unknown + refusals, epoch, self._pipeline.answered_at))
        log.info("spool files replayed", extra={"files": len(contents.readable), "records": len(contents.places)})

    async def forget_sent(self, *, at_once: bool = False) -> None:
        """Remove the files that have been sent, unless another life of Redis may have lost what it took. Raises
        OSError, or RedisAway when it does not answer: from what it took before it fell silent, nothing is sure."""
        if self._sent and not at_once:
            with contextlib.suppress(RedisReplyError):  # An answer all the same.
                await self._pipeline.command("PING")
        due = self._pipeline.answered_at - (0 if at_once else KEEP_SECONDS)
        for sent in list(self._sent):
            if sent.epoch != self._pipeline.epoch:
                self._files[:0] = sent.files
            elif sent.at > due:
                continue
            else:
                await asyncio.to_thread(self._remove, sent)
            self._sent.remove(sent)

    async def _send(self, contents: Contents) -> list[tuple[bytes, str]]:
        """Everything but the intents of this process, which knows better. Returns what was refused for ever."""
        every = [place for place in contents.places.values() if not place.is_own_intent]
        places = [place for place in every if place not in self._taken]
        for start in range(0, len(places), REPLAY_BATCH):
            batch = places[start : start + REPLAY_BATCH]
            answers, away = await self._replay.try_to_send(await asyncio.to_thread(contents.read, batch))
            for place, refusal in zip(batch, answers, strict=True):
                if refusal is not None:
                    self._taken[place] = refusal
            if away is not None:
                raise away
        refused = [place for place in every if self._taken[place]]
        records = await asyncio.to_thread(contents.read, refused)
        return [(record.encode(), self._taken[place]) for place, record in zip(refused, records, strict=True)]

    def _remove(self, sent: _Sent) -> None:
        if sent.refused:
            path = reject(self._directory, sent.refused)
            reasons = sorted({reason for _, reason in sent.refused})
            log.error(
                "spool records were put aside",
                extra={"file": path.name, "records": len(sent.refused), "reasons": reasons[:REASONS_LOGGED]},
            )
            sent.refused = []
        for file in sent.files:
            file.remove()

    def _complain(self, files: dict[str, str]) -> None:
        """Once for each: they are looked at every second."""
        for name, reason in files.items():
            if name not in self._complained:
                log.error("a spool file can't be read", extra={"file": name, "reason": reason})
        self._complained.update(files)
