"""
The log of requests: lines are collected and written by a thread, so that a blocked standard output delays no request.
Past a bound, or where they can't be written, they are dropped and counted.
"""

import asyncio
import time

from core.process.line_output import LineOutput
from gateway.records import metrics
from gateway.records.request_line import request_line
from gateway.records.request_record import RequestRecord

__all__ = ["RequestLog"]

FLUSH_SECONDS = 0.1
MAX_WAITING_LINES = 50_000
BLOCKED_SECONDS = 2.0


class RequestLog:
    """`descriptor` is where lines go; None keeps nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._output = LineOutput(descriptor) if descriptor is not None else None
        self._lines: list[bytes] = []

    def add(self, record: RequestRecord) -> None:
        """An observer of requests."""
        if self._output is None:
            return
        if len(self._lines) >= MAX_WAITING_LINES:
            metrics.LOG_LINES_DROPPED.inc()
            return
        self._lines.append(request_line(record, now=time.time(), ended_at=time.monotonic()))

    async def run(self) -> None:
        """Write what has been collected, until cancelled; `flush` afterwards."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if lines := self._take():  # Here and not in the thread: `add` may be making a line for this very list.
                await asyncio.to_thread(self._write, lines)

    def flush(self) -> None:
        """Returns within `BLOCKED_SECONDS`, also when what we write is not read; the rest is dropped then."""
        self._write(self._take())

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if self._output is None or not lines:
            return
        if lost := self._output.write(lines, patience_seconds=BLOCKED_SECONDS):
            metrics.LOG_LINES_DROPPED.inc(lost)
