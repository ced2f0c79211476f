"""
One client connection: requests as they come, answers in the same order.

* A request head is bounded in time (408), as `request_parser` bounds its size.
* A connection without an open request is closed after a while, whatever arrives on it.
* What is no request is answered at once, and the connection closes in two steps, so that the client can read why.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

from gateway.inbound.client_writer import ClientWriter
from gateway.inbound.connections import Connections
from gateway.inbound.exchange import Exchange
from gateway.inbound.refusal import refusal_bytes
from gateway.inbound.request_parser import END, BadRequest, RequestHead, RequestParser

__all__ = ["ClientConnection"]

HEAD_SECONDS = 10.0
LINGER_SECONDS = 5.0
"""How long what a refused client still sends is read and dropped: a connection closed on unread data is reset."""
FIRST_LOOK_SECONDS, MAX_LOOK_SECONDS = 0.01, 1.0
MAX_BUFFERED_BYTES = 65_536
"""Of a body; beyond them nothing more is read until somebody takes them."""
TOO_LATE = BadRequest(408, f"The request head did not arrive within {HEAD_SECONDS:g} seconds.")
CROWDED = BadRequest(503, "This gateway is at its limit of connections. Please try again.")

Handler = Callable[[Exchange], Awaitable[None]]
"""Answers a request; when it returns without having finished, the connection is closed."""


class ClientConnection(asyncio.Protocol):
    _transport: asyncio.Transport
    _writer: ClientWriter

    def __init__(self, handler: Handler, connections: Connections) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser()
        self._running: Exchange | None = None
        """The request that is being answered, or was last."""
        self._newest: Exchange | None = None
        """The request whose body is being read, or was last."""
        self._waiting: deque[Exchange] = deque()
        """Requests behind the running one (pipelining)."""
        self._reading_paused = False
        self._discarding = False
        """The last answer has been written: whatever still comes is dropped."""
        self._idle_since: float | None = self._loop.time()
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # What a server gives.
        self._transport = transport
        shared = self._connections
        self._writer = ClientWriter(transport, self._loop, shared.date, stalled_seconds=shared.stalled_seconds)
        shared.add(self)
        self._idle_timer = self._loop.call_later(shared.idle_seconds, self._idle_timer_fired)
        if not shared.has_room():
            self._refuse(CROWDED)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._idle_timer, self._linger_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._writer.closed()
        self._connections.discard(self)
        self._drop_requests()

    def pause_writing(self) -> None:
        self._writer.paused = True

    def resume_writing(self) -> None:
        self._writer.resume()

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        parser = self._parser
        for event in parser.feed(data):
            kind = type(event)
            if kind is RequestHead:
                self._begin(event)  # type: ignore[arg-type]
            elif kind is bytes:
                self._take(event)  # type: ignore[arg-type]
            elif event is END:
                self._body_ended()
            else:
                self._refuse(event)  # type: ignore[arg-type]
                return
        if parser.in_head and self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_SECONDS, self._refuse, TOO_LATE)

    def eof_received(self) -> bool:
        """The client sends nothing more. It may still read (`nc`), or have gone: its answer to a byte of ours tells.

        One that has gone resets the connection, and that is looked for: nothing is read any more."""
        running, newest = self._running, self._newest
        if running is None or newest is None or running.finished or newest.more_body or not running.can_probe:
            return False
        newest.keep_alive = False
        running.probe()
        self._look_timer = self._loop.call_later(FIRST_LOOK_SECONDS, self._look_for_reset, FIRST_LOOK_SECONDS)
        return True

    def shut_down(self) -> None:
        """Close, behind the answers that are owed."""
        if self._newest is None or self._newest.finished:
            self._transport.close()
        else:
            self._newest.keep_alive = False

    def abort(self) -> None:
        self._transport.abort()

    def close_if_idle(self, seconds: float) -> None:
        if self._head_timer is None and self._idle_seconds > seconds:
            self._writer.close()

    def _begin(self, head: RequestHead) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        before, self._newest = self._newest, Exchange(head, self._writer, self._ended, self._resume_reading)
        if before is None or before.finished:
            self._start(self._newest)
        else:
            self._pause_reading()
            self._waiting.append(self._newest)

    def _take(self, piece: bytes) -> None:
        if self._newest is not None and self._newest.push(piece) > MAX_BUFFERED_BYTES:
            self._pause_reading()

    def _body_ended(self) -> None:
        if self._newest is not None:
            self._newest.body_ended()
        if self._idle_since is not None:  # The rest of a body that was answered early: the client begins to wait now.
            self._idle_since = self._loop.time()

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        self._idle_since = None
        task = self._loop.create_task(self._serve(exchange))
        tasks = self._connections.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        finally:
            if not exchange.finished and not self._writer.hung_up:  # Cut in the middle: the client must see that.
                self._transport.close()

    def _ended(self, exchange: Exchange) -> None:
        """An answer has been written: the next request of this connection may come."""
        writer = self._writer
        writer.on_hang_up = None
        if writer.paused:
            writer.watch_pace()
        if not exchange.keep_alive:
            if exchange.more_body or self._reading_paused:
                self._close_slowly()
            else:
                writer.close()
        if self._discarding or self._transport.is_closing():
            return
        self._resume_reading()
        if self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._idle_since = self._loop.time()

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _idle_timer_fired(self) -> None:
        """One timer for the connection's whole life, set again when it fires too early: none per request.

        Bytes alone keep nothing open: between two requests they may be anything, and a head has a timer of its own."""
        allowed = self._connections.idle_seconds
        busy = self._idle_since is None or self._head_timer is not None
        rest = allowed if busy else allowed - self._idle_seconds
        if rest <= 0:
            self._writer.close()
        else:
            self._idle_timer = self._loop.call_later(rest, self._idle_timer_fired)

    @property
    def _idle_seconds(self) -> float:
        """Since the last request on this connection was answered; 0 while one is open."""
        return 0.0 if self._idle_since is None else self._loop.time() - self._idle_since

    def _look_for_reset(self, pause: float) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        else:
            pause = min(MAX_LOOK_SECONDS, pause * 2)
            self._look_timer = self._loop.call_later(pause, self._look_for_reset, pause)

    @property
    def _owes_answers(self) -> bool:
        """Whole requests have come before what is refused."""
        newest = self._newest
        return bool(self._waiting) or (newest is not None and not newest.more_body and not newest.finished)

    def _refuse(self, problem: BadRequest) -> None:
        """Answer what is no request, and close."""
        if self._discarding or self._transport.is_closing():
            return
        if self._owes_answers and self._newest is not None:
            # Now it would be taken for one of those answers, or stand in the middle of a stream.
            self._newest.keep_alive = False
            self._pause_reading()
            return
        self._writer.write(refusal_bytes(problem.status, problem.message))
        self._close_slowly()
        self._drop_requests()

    def _close_slowly(self) -> None:
        """Close our side, and drop what the client still sends until it closes its own."""
        if self._discarding or self._transport.is_closing():
            return
        self._discarding = True
        self._resume_reading()
        self._transport.write_eof()
        self._linger_timer = self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _drop_requests(self) -> None:
        """Whoever works on a request of this connection learns that it will neither be whole nor be answered."""
        self._waiting.clear()
        self._writer.hang_up()
        for exchange in (self._running, self._newest):
            if exchange is not None:
                exchange.wake()
