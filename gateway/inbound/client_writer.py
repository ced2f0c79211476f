"""
The writing side of a client connection: what the client has not taken yet, and whether it is still there.

A client that takes nothing for too long is given up (`reading_pace`); until then its answer occupies memory.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable

from gateway.inbound.http_date import HttpDate
from gateway.inbound.reading_pace import ReadingPace

__all__ = ["ClientWriter"]

PACE_CHECKS = 4
"""Looks at a client's pace within the time after which it counts as stalled."""


class ClientWriter:
    """`on_hang_up` is called once, when the client leaves or is given up: whoever waits for an upstream stops it."""

    __slots__ = (
        "_loop", "_pace_timer", "_resumed", "_stalled_seconds", "_transport",
        "date", "hung_up", "on_hang_up", "paused", "write",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        date: HttpDate,
        *,
        stalled_seconds: float,
    ) -> None:
        self.date = date
        self.write: Callable[[bytes], None] = transport.write
        self.hung_up = False
        self.on_hang_up: Callable[[], None] | None = None
        self.paused = False
        """The transport's buffer is full."""
        self._transport = transport
        self._loop = loop
        self._stalled_seconds = stalled_seconds
        self._resumed: asyncio.Future[None] | None = None
        self._pace_timer: asyncio.TimerHandle | None = None

    @property
    def blocked(self) -> bool:
        """The client reads more slowly than the answer comes."""
        return self.paused and not self.hung_up

    def resume(self) -> None:
        self.paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written; hang up on one that takes nothing."""
        pace = ReadingPace(self._unread_bytes(), self._loop.time(), stalled_seconds=self._stalled_seconds)
        while self.blocked:
            if self._resumed is None or self._resumed.done():
                self._resumed = self._loop.create_future()
            await asyncio.wait((self._resumed,), timeout=self._stalled_seconds / PACE_CHECKS)
            if self.blocked and pace.given_up(self._unread_bytes(), self._loop.time()):
                self._transport.abort()
                self.hung_up = True  # `connection_lost` comes with the loop's next turn.

    def hang_up(self) -> None:
        """The client has gone, or is not served any more."""
        self.hung_up = True
        self.resume()
        callback, self.on_hang_up = self.on_hang_up, None
        if callback is not None:
            callback()

    def watch_pace(self) -> None:
        """The answer has ended and the handler does not wait for the client to take it: a timer does."""
        if self._pace_timer is not None or not self._transport.get_write_buffer_size():
            return
        pace = ReadingPace(self._unread_bytes(), self._loop.time(), stalled_seconds=self._stalled_seconds)
        self._pace_timer = self._loop.call_later(self._stalled_seconds / PACE_CHECKS, self._check_pace, pace)

    def close(self) -> None:
        """What has been written is still sent, as long as the client takes it."""
        self._transport.close()
        self.watch_pace()

    def closed(self) -> None:
        if self._pace_timer is not None:
            self._pace_timer.cancel()

    def _check_pace(self, pace: ReadingPace) -> None:
        self._pace_timer = None
        if not self._transport.get_write_buffer_size():
            return
        if pace.given_up(self._unread_bytes(), self._loop.time()):
            self._transport.abort()
            return
        self._pace_timer = self._loop.call_later(self._stalled_seconds / PACE_CHECKS, self._check_pace, pace)

    def _unread_bytes(self) -> int:
        """Ours and the kernel's: the buffer of a socket moves in large steps, the kernel's count in small ones."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        (queued,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return self._transport.get_write_buffer_size() + int(queued)
