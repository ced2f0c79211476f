"""
One JSON line per request, at its end, with the outcome. Lines are collected and written by a thread, so that a blocked
standard output delays nobody; past a bound, or where they can't be written, they are dropped and counted. Prompts and
answers are never in it.
"""

import asyncio
import time
from datetime import UTC, datetime

import orjson

from core.process.line_output import LineOutput
from gateway.inbound.exchange import Exchange
from gateway.records import metrics

__all__ = ["RequestLog"]

FLUSH_SECONDS = 0.1
MAX_WAITING_LINES = 50_000
BLOCKED_SECONDS = 2.0


class RequestLog:
    """`descriptor` is where lines go; None keeps nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._output = LineOutput(descriptor) if descriptor is not None else None
        self._lines: list[bytes] = []

    def add(self, client: Exchange, *, request_id: str, outcome: str, code: str) -> None:
        if self._output is None:
            return
        if len(self._lines) >= MAX_WAITING_LINES:
            metrics.LOG_LINES_DROPPED.inc()
            return
        now = time.time()
        principal, reservation = client.principal, client.reservation
        event = reservation.settled if reservation else None
        target = reservation.target if reservation else None
        line = {
            "time": datetime.fromtimestamp(now, UTC),
            "level": "info",
            "logger": "gateway.request",
            "message": f"{client.method} {client.path[:200]}",
            "request_id": request_id,
            "account": principal.account_id if principal else None,
            "key": principal.key_id if principal else None,
            "model": client.model.name if client.model else None,
            "target": target.name if target else None,
            "attempts": reservation.attempt if reservation else 0,
            "status": client.status,
            "outcome": outcome,
            "code": code or None,
            "tokens": event.usage.as_tuple() if event else None,
            "estimated": event.estimated or None if event else None,
            "cost_nano_usd": event.cost if event else None,
            "first_byte_ms": round(client.first_byte_seconds * 1000, 2),
            "upstream_ms": round(client.upstream_seconds * 1000, 2),
            "duration_ms": round((time.monotonic() - client.received_at) * 1000, 2),
        }
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))

    async def run(self) -> None:
        """Write what has been collected, until cancelled; `flush` afterwards."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if lines := self._take():  # Here and not in the thread: `add` may be making a line for this very list.
                await asyncio.to_thread(self._write, lines)

    def flush(self) -> None:
        """Returns within `BLOCKED_SECONDS`, also when nobody reads what we write; the rest is dropped then."""
        self._write(self._take())

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _write(self, lines: list[bytes]) -> None:
        if self._output is None or not lines:
            return
        if lost := self._output.write(lines, patience_seconds=BLOCKED_SECONDS):
            metrics.LOG_LINES_DROPPED.inc(lost)
