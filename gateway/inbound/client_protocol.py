"""
One client connection: the requests that `request_reader` finds, and their answers.

* The moment a client hangs up reaches whoever waits for an upstream, as a callback (`exchange`).
* A connection without an open request is closed after a while, whatever arrives on it.
* A client that does not take its answer is given up (`reading_pace`); until then the answer occupies memory.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.inbound.connections import Connections
from gateway.inbound.headers import Headers
from gateway.inbound.reading_pace import ReadingPace
from gateway.inbound.request_reader import RequestReader

__all__ = ["ClientProtocol"]

PACE_CHECKS = 4
"""Looks at a client's pace within the time after which it counts as stalled."""
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.01, 1.0

CHUNKED = (b"transfer-encoding", b"chunked")
CLOSE = (b"connection", b"close")
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EMPTY_COMMENT = b":\n\n"
VISIBLE = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t"
REQUEST_TIMEOUT = 408


class ClientProtocol(RequestReader):
    server_state: Connections
    on_hang_up: Callable[[], None] | None
    hung_up: bool

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.on_hang_up = None
        self.hung_up = False
        self._chunked = True
        self._running: RequestResponseCycle | None = None
        self._pace: ReadingPace | None = None
        self._pace_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        # uvicorn starts its timer after an answer only; a connection that never asks must not stay for ever.
        self._idle_since: float | None = self.loop.time()
        self._idle_timer = self.loop.call_later(self.server_state.idle_seconds, self.timeout_keep_alive_handler)
        if not self.server_state.has_room():
            self.refuse(503, "This gateway is at its limit of connections. Please try again.")
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._idle_timer, self._pace_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.drop_requests()

    def drop_requests(self) -> None:
        self.hung_up = True
        running = self._running
        if running is not None:  # uvicorn tells only the newest request of a pipeline.
            running.disconnected = True
            running.waiting_for_100_continue = False
            running.message_event.set()
        callback, self.on_hang_up = self.on_hang_up, None
        if callback is not None:
            callback()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._idle_since is not None:  # The rest of a body that was answered early: the client begins to wait now.
            self._idle_since = self.loop.time()

    def on_response_complete(self) -> None:
        """As uvicorn's, but the idle timer only gets a new start to count from."""
        self.on_hang_up = None
        self.server_state.total_requests += 1
        if self.discarding or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """One timer for the connection's whole life, set again when it fires too early: none per request.

        Bytes alone keep nothing open: between two requests they may be anything, and a head has a timer of its own."""
        patience = self.server_state.idle_seconds
        busy = self._idle_since is None or self._head_timer is not None
        rest = patience if busy else patience - self.idle_seconds
        if rest <= 0:
            self._close()
        else:
            self._idle_timer = self.loop.call_later(rest, self.timeout_keep_alive_handler)

    @property
    def idle_seconds(self) -> float:
        """Since the last request on this connection was answered; 0 while one is open."""
        return 0.0 if self._idle_since is None else self.loop.time() - self._idle_since

    def close_if_idle(self, seconds: float) -> None:
        if self._head_timer is None and self.idle_seconds > seconds:
            self._close()

    def eof_received(self) -> bool:  # type: ignore[override]  # A bool, as asyncio has it.
        """The client sends nothing more. It may still read (`nc`), or have gone: its answer to a byte of ours tells.

        One that has gone resets the connection, and that is looked for: nothing is read any more. HTTP/1.0 knows no
        bytes that mean nothing; there it counts as a hang-up."""
        running = self._running
        if running is None or running.response_complete or self.cycle.more_body:
            return False
        if running.scope["http_version"] == "1.0":
            return False
        self.cycle.keep_alive = False
        if not running.response_started:
            self.transport.write(CONTINUE)
        elif self._chunked:
            self.write_chunk(EMPTY_COMMENT)
        self._look_timer = self.loop.call_later(FIRST_LOOK_SECONDS, self._look_for_reset, FIRST_LOOK_SECONDS)
        return True

    def _look_for_reset(self, pause: float) -> None:
        sock: socket.socket = self.transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            pause = min(LONGEST_LOOK_SECONDS, pause * 2)
            self._look_timer = self.loop.call_later(pause, self._look_for_reset, pause)

    @property
    def blocked(self) -> bool:
        return self.flow.write_paused and not self.hung_up

    async def drain(self) -> None:
        patience = self.server_state.stalled_seconds
        pace = ReadingPace(self._unread_bytes(), self.loop.time(), stalled_seconds=patience)
        while self.blocked:
            try:
                async with asyncio.timeout(patience / PACE_CHECKS):
                    await self.flow.drain()
            except TimeoutError:
                if pace.given_up(self._unread_bytes(), self.loop.time()):
                    self.transport.abort()
                    self.hung_up = True  # connection_lost comes with the loop's next turn.

    def _watch_pace(self) -> None:
        """Nobody waits for the client to take an answer that has ended."""
        if self._pace_timer is not None or not self.transport.get_write_buffer_size():
            return
        patience = self.server_state.stalled_seconds
        self._pace = ReadingPace(self._unread_bytes(), self.loop.time(), stalled_seconds=patience)
        self._pace_timer = self.loop.call_later(patience / PACE_CHECKS, self._check_pace, self._pace)

    def _check_pace(self, pace: ReadingPace) -> None:
        self._pace_timer = None
        if not self.transport.get_write_buffer_size():
            return
        if pace.given_up(self._unread_bytes(), self.loop.time()):
            self.transport.abort()
            return
        interval = self.server_state.stalled_seconds / PACE_CHECKS
        self._pace_timer = self.loop.call_later(interval, self._check_pace, pace)

    def _unread_bytes(self) -> int:
        """Ours and the kernel's: the buffer of a socket moves in large steps, the kernel's count in small ones."""
        descriptor = self.transport.get_extra_info("socket").fileno()
        (queued,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return self.transport.get_write_buffer_size() + int(queued)

    def _close(self) -> None:
        """What has been written is still sent, as long as the client takes it."""
        self.transport.close()
        self._watch_pace()

    def whole_body(self, cycle: RequestResponseCycle) -> bytes | None:
        return None if cycle.more_body else bytes(cycle.body)

    def answer(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer in one write."""
        if cycle.more_body and (cycle.waiting_for_100_continue or status == REQUEST_TIMEOUT):
            cycle.keep_alive = False  # Nobody knows whether the next bytes are a body or a request.
        length = (b"content-length", b"%d" % len(body))
        head = _head(cycle, status, [*headers, length])
        self.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        self._end_answer(cycle)

    def start_stream(self, cycle: RequestResponseCycle, status: int, headers: Headers) -> None:
        """The head of an answer whose length nobody knows; chunks follow, for HTTP/1.0 just bytes and the end."""
        self._chunked = cycle.scope["http_version"] != "1.0"
        self.transport.write(_head(cycle, status, [*headers, CHUNKED] if self._chunked else headers))

    def write_chunk(self, chunk: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def end_stream(self, cycle: RequestResponseCycle, chunk: bytes) -> None:
        """`chunk` is the last one and may be empty."""
        if not self._chunked:
            self.transport.write(chunk)
        else:
            self.transport.write(b"%x\r\n%b\r\n%b" % (len(chunk), chunk, LAST_CHUNK) if chunk else LAST_CHUNK)
        self._end_answer(cycle)

    def _end_answer(self, cycle: RequestResponseCycle) -> None:
        """What uvicorn does behind the last byte: the next request of this connection may come."""
        cycle.response_complete = True
        cycle.message_event.set()
        if self.flow.write_paused:
            self._watch_pace()
        if not cycle.keep_alive:
            if cycle.more_body or self.flow.read_paused:
                self.close_slowly()
            else:
                self._close()
        cycle.on_response()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        self._idle_since = None
        cycle.scope["extensions"] = {"poindexter.connection": (self, cycle)}  # type: ignore[dict-item]
        super()._start_asgi_task(cycle, app)


def _head(cycle: RequestResponseCycle, status: int, headers: Headers) -> bytes:
    """One look at the whole head keeps an answer from being split; uvicorn takes two at each header."""
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    lines = [b": ".join(header) for header in cycle.default_headers]
    lines += [b": ".join(header) for header in headers]
    if not cycle.keep_alive:
        lines.append(b"connection: close")
    fields = b"\r\n".join(lines)
    if fields.translate(None, VISIBLE) != b"\r\n" * (len(lines) - 1):
        raise ValueError("a header of the answer holds a control character")
    return b"%b%b\r\n\r\n" % (STATUS_LINE[status], fields)
