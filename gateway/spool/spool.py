"""
Settlements that Redis could not take, on the local disk until it can.

`put` is synchronous; the record is fsynced by the task that runs `run`, and the returned future ends when it is on the
disk. Records of a moment share one fsync. Every request that was admitted on trust puts down an intent first, and so
does every open one when Redis is lost: even a process that dies before Redis is back leaves a record of what it owes.

`replay` sends what waits in the files of this process and of dead ones (`backlog`).

When the disk refuses, settlements stay in memory, from where they are sent as soon as Redis is there. Intents are
refused: a request that waits for its own is not sent, that of one under way is tried again and again. `healthy` turns
False, so that no new request is admitted on trust.
"""

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from core.usage.usage_event import UsageEvent
from gateway.records import metrics
from gateway.spool.backlog import Backlog
from gateway.spool.file import SpoolFile, count_rejected, create_file, try_directory
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.record import Record
from gateway.spool.replay import Replay
from gateway.store.cold_scopes import ColdScopes
from gateway.store.redis_pipeline import RedisAway, RedisPipeline

__all__ = ["Spool", "SpoolFailed", "SpoolUnusable"]

log = logging.getLogger(__name__)

MAX_WAITING = 100_000
RETRY_SECONDS = 1.0
FLUSH_BATCH, SEND_BATCH = 2000, 500
CARRY_SECONDS = 30.0
"""Between two looks at intents alone: they only have to leave the disk some time after their requests have ended."""
TRY_SECONDS = 30.0
"""Between two tries of a disk that has nothing to do: an outage of Redis is too late to find out."""

Waiting = tuple[Record, "asyncio.Future[None] | None"]
DISK_TROUBLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})


class SpoolUnusable(Exception):
    """The directory can't be what the setting says: no process with this setting could ever write there."""


class SpoolFailed(Exception):
    """The disk did not take an intent: its request must not be sent."""


class Spool:
    """`run` owns the writing and the replaying."""

    def __init__(
        self,
        directory: Path,
        pipeline: RedisPipeline,
        recent: RecentSettlements,
        cold_scopes: ColdScopes,
        *,
        shard_count: int,
    ) -> None:
        self._directory = directory
        self._pipeline = pipeline
        self._recent = recent
        self._replay = Replay(pipeline, cold_scopes, shard_count=shard_count)
        self._backlog = Backlog(directory, pipeline, self._replay)
        self._waiting: deque[Waiting] = deque()
        self._intended: set[str] = set()
        self._refused_intents: dict[str, Record] = {}
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._replaying = asyncio.Lock()
        self._current: SpoolFile | None = None
        self._look_again_at = self._try_again_at = 0.0
        self.healthy = True

    @property
    def empty(self) -> bool:
        """No settlement waits for Redis."""
        current = self._current
        return not (self._waiting or self._backlog.files or (current and current.settlements))

    def put(self, record: Record) -> "asyncio.Future[None]":
        """Take a settlement that Redis has to get. The future ends when it is on the disk, or stays in memory because
        the disk refuses."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) < MAX_WAITING:
            metrics.SPOOLED.inc()
            self._waiting.append((record, future))
            self._work.set()
        elif record.intent:
            self._fail(future, "too many records wait for the disk")
        else:
            # The last resort of a full disk: whoever reads the log can still put it on the stream.
            log.critical("a settlement could not be kept", extra={"record": record.encode().decode()})
            future.set_result(None)
        return future

    def put_intent(self, event: UsageEvent) -> "asyncio.Future[None]":
        """Take the settlement of a request that goes on, for the case that this process dies. `ended` takes it back.

        The future raises SpoolFailed when the disk refuses.
        """
        record = Record(event, intent=True)
        self._intended.add(record.event_id)
        return self.put(record)

    def put_all(self, records: Iterable[Record]) -> None:
        """Take settlements without waiting for the disk."""
        room = MAX_WAITING - len(self._waiting)
        taken = [(record, None) for record in islice(records, room)]
        self._waiting.extend(taken)
        metrics.SPOOLED.inc(len(taken))
        self._work.set()

    def intended(self, event_id: str) -> bool:
        """An intent of this request is or may be on the disk."""
        return event_id in self._intended

    def ended(self, event_id: str) -> None:
        """Redis has the settlement of this request; its intent, if there was one, is void."""
        self._intended.discard(event_id)

    async def open(self) -> None:
        """Try the directory. Raises SpoolUnusable. A disk that is full or broken is no mistake of the setting: the
        gateway serves without it, as it would if that happened later."""
        try:
            await asyncio.to_thread(try_directory, self._directory)
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise SpoolUnusable(f"{error.strerror}: {self._directory}") from error
            self._disk_failed(error)

    async def run(self) -> None:
        """Write what comes in and replay it whenever Redis is there. Until cancelled; `finish` then."""
        while True:
            try:
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                pass  # Nothing new; there may be something to replay.
            self._work.clear()
            await self.flush()
            await self._try_disk()
            if self._pipeline.connected:
                await self.replay()

    async def finish(self, *, seconds: float) -> None:
        """The last settlements: to Redis if it is there, to the disk in any case."""
        await self.flush()
        try:
            async with asyncio.timeout(seconds):
                if self._pipeline.connected:
                    await self.replay()
                    await self._backlog.forget_sent(at_once=True)
        except (TimeoutError, OSError) as error:
            log.warning("the spool is left for the next process", extra={"error": repr(error)})

    async def flush(self) -> None:
        """Bring everything that waits to the disk. On failure the settlements stay in memory for the next call."""
        async with self._writing:  # The end of the process flushes too: two at once would drop each other's records.
            again, self._refused_intents = self._refused_intents, {}
            self._waiting.extendleft((record, None) for event_id, record in again.items() if self.intended(event_id))
            while batch := list(islice(self._waiting, FLUSH_BATCH)):
                try:
                    await asyncio.to_thread(self._write, [record for record, _ in batch])
                except OSError as error:
                    self._refused(error)
                    break
                self.healthy = True
                self._take_off(batch)
        self._count()

    async def replay(self) -> None:
        """Send everything to Redis, oldest first, and remove the files some seconds after their records were taken."""
        async with self._replaying:
            try:
                if not self.healthy:
                    await self._send_waiting()
                await self._backlog.forget_sent()
                await self._send_files()
            except (RedisAway, OSError) as error:
                log.warning("spool replay interrupted", extra={"error": repr(error)})
        self._count()

    def _refused(self, error: OSError) -> None:
        self._disk_failed(error)
        for _ in range(len(self._waiting)):
            record, future = self._waiting.popleft()
            if record.intent:
                self._refused_intents[record.event_id] = record
            else:
                self._waiting.append((record, future))
            if future is None or future.done():
                continue
            if record.intent:
                self._fail(future, str(error))
            else:
                future.set_result(None)

    def _disk_failed(self, error: OSError) -> None:
        self.healthy = False
        metrics.SPOOL_FAILURES.inc()
        log.warning("the spool can't be written", extra={"error": repr(error), "waiting": len(self._waiting)})

    @staticmethod
    def _fail(future: "asyncio.Future[None]", reason: str) -> None:
        future.set_exception(SpoolFailed(reason))
        future.exception()  # The intent of a request that is under way is not waited for.

    def _take_off(self, batch: Iterable[Waiting], *, but_intents: bool = False) -> None:
        for record, future in batch:
            self._waiting.popleft()
            if but_intents and record.intent:
                self._waiting.append((record, future))
                continue
            if not record.intent:
                self._intended.discard(record.event_id)
            if future is not None and not future.done():
                future.set_result(None)

    async def _try_disk(self) -> None:
        """A disk that has nothing to do is asked now and then; one that refused, until it takes something."""
        now = asyncio.get_running_loop().time()
        if self._waiting or (self.healthy and now < self._try_again_at):
            return
        self._try_again_at = now + TRY_SECONDS
        try:
            await asyncio.to_thread(try_directory, self._directory)
            metrics.SPOOL_REJECTED_FILES.set(await asyncio.to_thread(count_rejected, self._directory))
        except OSError as error:
            self._disk_failed(error)
        else:
            self.healthy = True

    async def _send_waiting(self) -> None:
        """What the disk refuses goes straight from memory. What Redis refuses for ever waits here for the disk."""
        async with self._writing:
            for _ in range(0, len(self._waiting), SEND_BATCH):
                batch = list(islice(self._waiting, SEND_BATCH))
                settlements = [item for item in batch if not item[0].intent]
                refusals = await self._replay.send([record for record, _ in settlements])
                self._take_off(batch, but_intents=True)  # Those only the disk can take.
                for item, refusal in zip(settlements, refusals, strict=True):
                    if refusal:
                        self._waiting.append(item)
                    else:
                        self._recent.add(item[0])

    async def _send_files(self) -> None:
        if any(file.ours for file in self._backlog.files):  # First: or each second of an outage would make a file.
            await self._backlog.send(self.intended, self._carry)
        async with self._writing:
            self._rotate_if_due()
        await self._backlog.send(self.intended, self._carry)

    async def _carry(self, records: list[Record]) -> None:
        async with self._writing:
            await asyncio.to_thread(self._write, records)
        self._look_again_at = asyncio.get_running_loop().time() + CARRY_SECONDS

    def _write(self, records: list[Record]) -> None:
        """In a thread, under the lock: encoding ten thousand would delay every stream."""
        lines = b"".join(record.encode() for record in records)
        try:
            if self._current is None:
                self._current = create_file(self._directory)
            self._current.append(lines)
        except OSError:
            self._rotate()  # It may hold half a record; the next try begins a new file.
            raise
        self._current.records += len(records)
        self._current.settlements += sum(not record.intent for record in records)

    def _rotate_if_due(self) -> None:
        if self._current is not None and (
            self._current.settlements or asyncio.get_running_loop().time() >= self._look_again_at
        ):
            self._rotate()

    def _rotate(self) -> None:
        if self._current is not None:
            self._backlog.add(self._current)
            self._current = None

    def _count(self) -> None:
        metrics.SPOOL_RECORDS.set(len(self._waiting) + sum(file.records for file in self._files()))

    def _files(self) -> list[SpoolFile]:
        return [*self._backlog.files, *([self._current] if self._current else [])]
