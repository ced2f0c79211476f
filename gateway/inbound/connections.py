"""
The client connections of a process, and their bound: file descriptors end sooner than memory, and a connection costs a
client nothing.

Beyond the bound a connection is told so (503) and closed. Before that, those that ask nothing make room.
"""

import asyncio
import logging
import resource
import socket
from typing import Protocol

from gateway.inbound.http_date import HttpDate
from gateway.records import metrics

__all__ = ["Connections", "connection_limit"]

log = logging.getLogger(__name__)

CROWDED = 0.75
"""Of the bound: from here on, idle connections are closed early."""
CROWDED_IDLE_SECONDS = 5.0
LOG_SECONDS = 10.0
OTHER_DESCRIPTORS = 64
"""Of the process: its log, its ports, Redis, Postgres, the spool."""


def connection_limit(wanted: int) -> int:
    """As many as wanted, or as the file descriptors allow: an open request takes one for its upstream as well.

    Raises this process's limit as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + OTHER_DESCRIPTORS
    if soft < needed <= hard or soft < hard < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limit = min(wanted, max(1, (soft - OTHER_DESCRIPTORS) // 2))
    if limit < wanted:
        extra = {"wanted": wanted, "limit": limit, "file_descriptors": soft}
        log.warning("file descriptors allow fewer connections than GATEWAY_MAX_CONNECTIONS", extra=extra)
    return limit


class Connection(Protocol):
    def close_if_idle(self, seconds: float) -> None: ...
    def shut_down(self) -> None: ...
    def abort(self) -> None: ...


class Connections:
    """What all connections of the public port share."""

    def __init__(self, *, limit: int, idle_seconds: float, stalled_seconds: float) -> None:
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that are being answered."""
        self.date = HttpDate()
        self.limit = limit
        self.idle_seconds = idle_seconds
        self.stalled_seconds = stalled_seconds
        self._refused = 0
        self._log_at = 0.0
        metrics.CONNECTIONS_LIMIT.set(limit)

    @property
    def full(self) -> bool:
        return len(self.connections) >= self.limit

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)

    def discard(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def shut_down(self) -> None:
        """Close what is idle; the others close behind the answers they owe."""
        for connection in list(self.connections):
            connection.shut_down()

    def abort(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    def has_room(self) -> bool:
        """For the connection that has just been added."""
        if len(self.connections) <= self.limit:
            return True
        self._refused += 1
        metrics.CONNECTIONS_REFUSED.inc()
        return False

    def look(self, now: float) -> None:
        """Once a second: nothing of this is done for each connection."""
        self.date.tick()
        count = len(self.connections)
        metrics.CONNECTIONS.set(count)
        if count > self.limit * CROWDED:
            for connection in list(self.connections):
                connection.close_if_idle(CROWDED_IDLE_SECONDS)
        exhausted = not _descriptors_left()
        if exhausted:
            metrics.DESCRIPTORS_EXHAUSTED.inc()
        if (exhausted or self._refused) and now >= self._log_at:
            self._log_at = now + LOG_SECONDS
            extra = {"connections": count, "limit": self.limit, "refused": self._refused}
            log.error("no file descriptor is left" if exhausted else "connections are refused", extra=extra)
            self._refused = 0


def _descriptors_left() -> bool:
    """Without one, accepting fails without a trace."""
    try:
        socket.socket().close()
    except OSError:
        return False
    return True
