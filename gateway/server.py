"""
The HTTP server: uvicorn on httptools, with what a public gateway needs on top.

* A request head is bounded in size (431) and in time (408), so floods and half-open connections cost nothing.
* The moment a client hangs up reaches whoever waits for an upstream, as a callback (`exchange`).
* SIGTERM first turns readiness red, then waits for the load balancer, then lets running answers finish.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.headers import Headers

__all__ = ["IDLE_SECONDS", "ClientProtocol", "GatewayServer"]

MAX_HEAD_BYTES = 65_536
HEAD_SECONDS = 10.0
IDLE_SECONDS = 75
"""Longer than the usual 60 seconds of load balancers: the side that sends next must not find the connection closed."""

LAST_WORDS_SECONDS = 5.0

CHUNKED = (b"transfer-encoding", b"chunked")
LAST_CHUNK = b"0\r\n\r\n"
VISIBLE = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t"

REFUSED_HEADS = {
    400: ("invalid_http", "This is not a valid HTTP/1.1 request."),
    408: ("request_timeout", f"The request head did not arrive within {HEAD_SECONDS:g} seconds."),
    431: ("request_header_fields_too_large", f"The request head is larger than {MAX_HEAD_BYTES:,} bytes."),
}


class ClientProtocol(HttpToolsProtocol):
    """One client connection."""

    on_hang_up: Callable[[], None] | None
    hung_up: bool

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.on_hang_up = None
        self.hung_up = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        super().connection_made(transport)
        # uvicorn starts its timer after an answer only; a connection that never asks must not stay for ever.
        self._idle_since: float | None = self.loop.time()
        self._idle_timer = self.loop.call_later(IDLE_SECONDS, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.headers is not None:
            self._bound_head(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        self.headers = None  # type: ignore[assignment]  # The scope holds them; None says: no head is under way.

    def on_response_complete(self) -> None:
        """As uvicorn's, but the idle timer only gets a new start to count from."""
        self.on_hang_up = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """One timer for the connection's whole life, set again when it fires too early: none per request."""
        rest = IDLE_SECONDS if self._idle_since is None else self._idle_since + IDLE_SECONDS - self.loop.time()
        if rest <= 0:
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(rest, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Bytes have arrived. uvicorn cancels its timer here."""
        self._idle_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.hung_up = True
        self._idle_timer.cancel()
        if self._head_timer is not None:
            self._head_timer.cancel()
        if self._running is not None:  # uvicorn tells only the newest request of a pipeline.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        callback, self.on_hang_up = self.on_hang_up, None
        if callback is not None:
            callback()

    @property
    def blocked(self) -> bool:
        return self.flow.write_paused and not self.hung_up

    async def drain(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.flow.drain()
        except TimeoutError:
            self.transport.abort()
            self.hung_up = True  # connection_lost comes with the loop's next turn.

    def whole_body(self, cycle: RequestResponseCycle) -> bytes | None:
        return None if cycle.more_body else bytes(cycle.body)

    def answer(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer in one write."""
        length = (b"content-length", b"%d" % len(body))
        head = _head(cycle, status, [*headers, length])
        self.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        self._end_answer(cycle)

    def start_stream(self, cycle: RequestResponseCycle, status: int, headers: Headers) -> None:
        """The head of an answer whose length nobody knows; chunks follow."""
        self.transport.write(_head(cycle, status, [*headers, CHUNKED]))

    def write_chunk(self, chunk: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    def end_stream(self, cycle: RequestResponseCycle, chunk: bytes) -> None:
        """`chunk` is the last one and may be empty."""
        self.transport.write(b"%x\r\n%b\r\n%b" % (len(chunk), chunk, LAST_CHUNK) if chunk else LAST_CHUNK)
        self._end_answer(cycle)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def _end_answer(self, cycle: RequestResponseCycle) -> None:
        """What uvicorn does behind the last byte: the next request of this connection may come."""
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        cycle.scope["extensions"] = {"poindexter.connection": (self, cycle)}  # type: ignore[dict-item]
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade nobody asked for is ignored, as HTTP allows; it needs no line in the log."""

    def _bound_head(self, size: int) -> None:
        """Called while a head is incomplete: an unfinished head may neither grow nor wait without end."""
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    @property
    def _owes_answers(self) -> bool:
        """Whole requests have come before what is refused."""
        cycle = self.cycle
        return bool(self.pipeline) or (cycle is not None and not cycle.more_body and not cycle.response_complete)

    def _refuse(self, status: int) -> None:
        if self.transport.is_closing():
            return
        if self._owes_answers:  # Now it would be taken for one of them, or stand in the middle of a stream.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        code, message = REFUSED_HEADS[status]
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


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


class GatewayServer(uvicorn.Server):
    """`begin_drain` is what SIGTERM calls; the second call ends the process without waiting."""

    def __init__(self, config: uvicorn.Config, *, delay: float, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._delay = delay
        self._on_drain = on_drain
        self._closing_at: float | None = None

    def begin_drain(self) -> None:
        if self._closing_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._closing_at = asyncio.get_running_loop().time() + self._delay
        self._on_drain()

    async def on_tick(self, counter: int) -> bool:
        if self._closing_at is not None and asyncio.get_running_loop().time() >= self._closing_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn cancels what outlives its patience and leaves at once; what those requests still write is money."""
        await super().shutdown(sockets)
        if self.force_exit:  # Left to the end of the loop, they would end when nobody takes endings any more.
            for task in self.server_state.tasks:
                task.cancel()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=LAST_WORDS_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process's `__main__`, which has more to stop than the server."""
        yield
