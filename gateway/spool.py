"""
Endings that Redis could not take, on the local disk until it can.

`put` is synchronous; the record is fsynced by a writer task and the returned future ends when it is on the disk.
Records of a moment share one fsync. `replay` sends them to Redis in order and deletes a file when all of its records
were taken. Each process writes files of its own under a lock and adopts the files of dead ones. A record that was
written half (power loss) has a wrong checksum and is skipped, loudly. When the disk refuses, records stay in memory,
are tried again, and `healthy` turns False so that no new request is admitted on trust.
"""

import asyncio
import fcntl
import logging
import os
import zlib
from collections import deque
from pathlib import Path
from typing import BinaryIO

import orjson

from gateway import metrics
from gateway.redis_pipeline import Argument, RedisAway, RedisPipeline, RedisReplyError

__all__ = ["Spool"]

log = logging.getLogger(__name__)

MAX_WAITING = 100_000
RETRY_SECONDS = 1.0
REPLAY_BATCH = 500
SUFFIX = ".spool"

Record = tuple[str, list[str], list[Argument]]
"""Script, keys and arguments of one call."""


class Spool:
    """`run` owns the writing and the replaying. `directory` is made if it does not exist."""

    def __init__(self, directory: Path, pipeline: RedisPipeline) -> None:
        self._directory = directory
        self._pipeline = pipeline
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._work = asyncio.Event()
        self._file: BinaryIO | None = None
        self._sequence = 0
        self._records = 0
        self.healthy = True

    @property
    def empty(self) -> bool:
        return not self._waiting and self._records == 0

    def put(self, script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> "asyncio.Future[None]":
        """Take a call that Redis has to get. The future ends when the record is on the disk."""
        record = _encode(script, keys, arguments)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        metrics.SPOOLED.inc()
        if len(self._waiting) >= MAX_WAITING:
            # The last resort of a full disk: whoever reads the log can still put it on the stream.
            log.critical("an ending could not be kept", extra={"record": record.decode()})
            future.set_result(None)
            return future
        self._waiting.append((record, future))
        self._work.set()
        return future

    async def run(self) -> None:
        """Write what comes in and replay it whenever Redis is there. Until cancelled; `flush` first."""
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
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
        """Bring everything that waits to the disk. On failure the records stay in memory for the next call."""
        batch = list(self._waiting)
        if not batch:
            return
        try:
            await asyncio.to_thread(self._write, b"".join(record for record, _ in batch))
        except OSError as error:
            self.healthy = False
            metrics.SPOOL_FAILURES.inc()
            log.warning("the spool can't be written", extra={"error": repr(error), "waiting": len(batch)})
            self._close()  # It may hold half a record; the next try begins a new file.
            return
        self.healthy = True
        self._records += len(batch)
        metrics.SPOOL_RECORDS.set(self._records)
        for _, future in batch:
            self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    async def replay(self) -> None:
        """Send every file's records to Redis, oldest first, and delete the files whose records were all taken."""
        self._close()
        for path, file in await asyncio.to_thread(self._claim):
            try:
                records = _decode(await asyncio.to_thread(file.read), path)
                await self._send(records)
                await asyncio.to_thread(path.unlink)
                log.info("spool file replayed", extra={"file": path.name, "records": len(records)})
            except (RedisAway, RedisReplyError) as error:
                log.warning("spool replay interrupted", extra={"file": path.name, "error": repr(error)})
                return
            finally:
                file.close()
        self._records = 0
        metrics.SPOOL_RECORDS.set(0)

    async def _send(self, records: list[Record]) -> None:
        for start in range(0, len(records), REPLAY_BATCH):
            calls = [
                self._pipeline.call(script, tuple(keys), tuple(arguments))
                for script, keys, arguments in records[start : start + REPLAY_BATCH]
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    def _write(self, records: bytes) -> None:
        if self._file is None:
            self._file = self._begin_file()
        self._file.write(records)
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def _begin_file(self) -> BinaryIO:
        self._sequence += 1
        path = self._directory / f"{os.getpid()}-{os.urandom(4).hex()}-{self._sequence:06d}{SUFFIX}"
        file = path.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)  # Without it a power loss may forget the file's name.
        finally:
            os.close(directory)
        return file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _claim(self) -> list[tuple[Path, BinaryIO]]:
        """The files that no living process holds, ours included, locked and open."""
        claimed: list[tuple[Path, BinaryIO]] = []
        for path in sorted(self._directory.glob("*" + SUFFIX), key=lambda path: path.stat().st_mtime):
            file = path.open("rb")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()  # Its process is alive.
            else:
                claimed.append((path, file))
        return claimed


def _encode(script: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> bytes:
    texts = [argument.decode() if isinstance(argument, bytes) else argument for argument in arguments]
    record = orjson.dumps([script, keys, texts])
    return b"%08x %b\n" % (zlib.crc32(record), record)


def _decode(contents: bytes, path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(contents.splitlines(), 1):
        checksum, _, record = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(record):
            records.append(orjson.loads(record))
        else:
            log.error("a spool record is damaged", extra={"file": path.name, "line": number})
    return records
