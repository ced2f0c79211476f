"""
Endings that Redis could not take, on the local disk until it can.

`put` is synchronous; the record is fsynced by the task that runs `run`, and the returned future ends when it is on the
disk. Records of a moment share one fsync. While Redis is away, every request that is sent to an upstream puts down an
intent first, so that even a process that dies before Redis is back leaves a record of what it owes. `replay` sends the
records to Redis in order and removes the files whose records were all taken; a process adopts the files of dead ones.

When the disk refuses, endings stay in memory and are tried again, intents are refused so that their requests are not
sent, and `healthy` turns False so that no new request is admitted on trust.
"""

import asyncio
import logging
from collections import deque
from pathlib import Path

from core.lua_scripts import Argument, Call
from gateway import metrics
from gateway.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError
from gateway.spool_file import Record, SpoolFile, adopt_files, create_file

__all__ = ["Spool", "SpoolFailed"]

log = logging.getLogger(__name__)

MAX_WAITING = 100_000
RETRY_SECONDS = 1.0
REPLAY_BATCH = 500
CARRY_SECONDS = 30.0
"""Between two looks at intents alone: they only have to leave the disk some time after their requests have ended."""


class SpoolFailed(Exception):
    """The disk did not take an intent: its request must not be sent."""


class Spool:
    """`run` owns the writing and the replaying. `directory` is made when it is needed."""

    def __init__(self, directory: Path, pipeline: RedisPipeline) -> None:
        self._directory = directory
        self._pipeline = pipeline
        self._waiting: deque[tuple[Record, asyncio.Future[None]]] = deque()
        self._intended: set[str] = set()
        self._work = asyncio.Event()
        self._writing = asyncio.Lock()
        self._replaying = asyncio.Lock()
        self._current: SpoolFile | None = None
        self._full: list[SpoolFile] = []
        """Files of ours that wait to be replayed. Held, so that no other process adopts them."""
        self._records = 0
        self._carried = 0
        """Of the records, the intents of requests that outlived an earlier replay."""
        self._look_again_at = 0.0
        self.healthy = True

    @property
    def empty(self) -> bool:
        return not self._waiting and self._records == 0

    def put(self, script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> "asyncio.Future[None]":
        """Take an ending that Redis has to get. The future ends when it is on the disk, or stays in memory because the
        disk refuses."""
        return self._put(Record(script, keys, arguments))

    def put_intent(self, script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> "asyncio.Future[None]":
        """Take the ending of a request that goes on, for the case that this process dies. `ended` takes it back.

        The future raises SpoolFailed when the disk refuses.
        """
        record = Record(script, keys, arguments, intent=True)
        self._intended.add(record.event_id)
        return self._put(record)

    def ended(self, event_id: str) -> None:
        """The request has ended by itself; its intent, if there was one, is void."""
        self._intended.discard(event_id)

    async def run(self) -> None:
        """Write what comes in and replay it whenever Redis is there. Until cancelled; `flush` first."""
        while True:
            try:
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                pass  # Nothing new; there may be something to replay.
            self._work.clear()
            await self.flush()
            if self._pipeline.connected:
                await self.replay()

    async def flush(self) -> None:
        """Bring everything that waits to the disk. On failure the endings stay in memory for the next call."""
        async with self._writing:  # The end of the process flushes too: two at once would drop each other's records.
            batch = list(self._waiting)
            if not batch:
                return
            try:
                await asyncio.to_thread(self._write, b"".join(record.encode() for record, _ in batch))
            except OSError as error:
                self._refused(error)
                return
            self.healthy = True
            self._count(self._records + len(batch))
            for _, future in batch:
                self._waiting.popleft()
                if not future.done():
                    future.set_result(None)

    async def replay(self) -> None:
        """Send every record to Redis, oldest first, and remove the files whose records were all taken."""
        if self._records > self._carried or self._loop_time() >= self._look_again_at:
            self._rotate()
            self._carried = 0
        async with self._replaying:
            try:
                await self._replay_files()
            except (RedisAway, RedisReplyError, OSError) as error:
                log.warning("spool replay interrupted", extra={"error": repr(error)})
                return
            self._count(self._carried)

    def _refused(self, error: OSError) -> None:
        self.healthy = False
        metrics.SPOOL_FAILURES.inc()
        self._rotate()  # It may hold half a record; the next try begins a new file.
        for _ in range(len(self._waiting)):
            record, future = self._waiting.popleft()
            if not record.intent:
                self._waiting.append((record, future))
            if future.done():
                continue
            if record.intent:
                future.set_exception(SpoolFailed(str(error)))
                future.exception()  # Nobody waits for the intent of a request that is under way.
            else:
                future.set_result(None)
        log.warning("the spool can't be written", extra={"error": repr(error), "waiting": len(self._waiting)})

    def _put(self, record: Record) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        metrics.SPOOLED.inc()
        if len(self._waiting) >= MAX_WAITING:
            # The last resort of a full disk: whoever reads the log can still put it on the stream.
            log.critical("an ending could not be kept", extra={"record": record.encode().decode()})
            future.set_result(None)
            return future
        self._waiting.append((record, future))
        self._work.set()
        return future

    async def _replay_files(self) -> None:
        for file in list(self._full):
            await self._replay(file, ours=True)
            self._full.remove(file)
        for file in await asyncio.to_thread(adopt_files, self._directory):
            await self._replay(file, ours=False)

    async def _replay(self, file: SpoolFile, *, ours: bool) -> None:
        try:
            records = await asyncio.to_thread(file.read)
            under_way = [record for record in records if record.intent and record.event_id in self._intended]
            if ours and under_way:  # They go on: their intents move to the next file, before this one is removed.
                await asyncio.to_thread(self._write, b"".join(record.encode() for record in under_way))
                self._carried += len(under_way)
                self._look_again_at = self._loop_time() + CARRY_SECONDS
            await self._send([record for record in records if not (ours and record.intent)])
        except (RedisAway, RedisReplyError, OSError):
            if not ours:
                file.close()
            raise
        await asyncio.to_thread(file.remove)
        log.info("spool file replayed", extra={"file": file.path.name, "records": len(records)})

    async def _send(self, records: list[Record]) -> None:
        for start in range(0, len(records), REPLAY_BATCH):
            calls = [
                self._pipeline.call(Call(record.script, record.keys, record.arguments))
                for record in records[start : start + REPLAY_BATCH]
            ]
            for result in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    def _write(self, lines: bytes) -> None:
        if self._current is None:
            self._current = create_file(self._directory)
        self._current.append(lines)

    def _rotate(self) -> None:
        if self._current is not None:
            self._full.append(self._current)
            self._current = None

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()

    def _count(self, records: int) -> None:
        self._records = records
        metrics.SPOOL_RECORDS.set(records)
