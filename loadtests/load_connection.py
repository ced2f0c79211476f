"""One keep-alive connection of the load generator. It reads just enough HTTP to know where an answer ends."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from loadtests.mock_answers import STAMP, microseconds

__all__ = ["LoadConnection", "Tally"]

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
EVENT = b"data: "
MOST_SAMPLES = 400_000
OK = b"HTTP/1.1 200"


@dataclass(slots=True)
class Tally:
    """What has been counted for one target since `open`; before that nothing counts."""

    counting: bool = False
    requests: int = 0
    failures: int = 0
    chunks: int = 0
    reads: int = 0
    latencies: list[float] = field(default_factory=list)
    chunk_delays: list[float] = field(default_factory=list)


class LoadConnection(asyncio.Protocol):
    """`on_free` is called when an answer is complete, `on_lost` when the connection is gone."""

    def __init__(
        self,
        request: bytes,
        tally: Tally,
        on_free: "Callable[[LoadConnection], None]",
        on_lost: "Callable[[LoadConnection], None]",
    ) -> None:
        self.waiting = False
        self.answered = False
        """The first byte of any answer has been seen."""
        self._request = request
        self._tally = tally
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self._head: bytes | None = b""
        """What has arrived of an unfinished head; None after it."""
        self._left = 0
        """Bytes of the body still to come; -1 for a chunked one."""
        self._tail = b""

    def send(self, due: float) -> None:
        """`due`: when the request should go out, on the clock of time.perf_counter."""
        self.waiting = True
        self._due = due
        self._head = b""
        self._tail = b""
        cast(asyncio.Transport, self._transport).write(self._request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._tally.failures += self._tally.counting and self.waiting
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        self.answered = True
        if self._head is not None:
            data = self._read_head(self._head + data)
            if self._head is not None:
                return
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._complete()
            return
        if self._tally.counting:
            self._count(data)
        self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
        if self._tail == LAST_CHUNK:
            self._complete()

    def _read_head(self, data: bytes) -> bytes:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            return b""
        if not data.startswith(OK):
            self._tally.failures += self._tally.counting
        length = CONTENT_LENGTH.search(data, 0, end + 2)
        self._left = int(length[1]) if length else -1
        self._head = None
        return data[end + 4 :]

    def _count(self, data: bytes) -> None:
        tally = self._tally
        tally.chunks += data.count(EVENT)
        tally.reads += 1
        stamp = STAMP.search(data)
        if stamp is not None and len(tally.chunk_delays) < MOST_SAMPLES:
            written = int(stamp[1])
            if written:
                tally.chunk_delays.append((microseconds() - written) / 1e6)

    def _complete(self) -> None:
        self.waiting = False
        tally = self._tally
        if tally.counting:
            tally.requests += 1
            if len(tally.latencies) < MOST_SAMPLES:
                tally.latencies.append(time.perf_counter() - self._due)
        self._on_free(self)
