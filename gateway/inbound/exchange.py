"""
One client request and its answer, as bytes: a head, a body that comes in pieces, one start, chunks, an end.

It knows nothing of keys, models or money. A hang-up is a callback and not a task that waits for it: whoever waits for
an upstream registers what has to be stopped. An idle gap of the upstream is no different from a busy stream.
"""

import asyncio
import time
from collections.abc import Callable

from gateway.errors import ClientGone
from gateway.inbound.client_writer import ClientWriter
from gateway.inbound.headers import Headers
from gateway.inbound.request_parser import RequestHead
from gateway.inbound.response_head import STATUS_LINES, header_lines

__all__ = ["Exchange"]

CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EMPTY_COMMENT = b":\n\n"
REQUEST_TIMEOUT = 408


class Exchange:
    """`on_end` is called behind the last byte of the answer; `on_read` when the body that was buffered is taken."""

    __slots__ = (
        "_buffered", "_chunked", "_expects_continue", "_head", "_on_end", "_on_read", "_pieces", "_waiting", "_writer",
        "body_bytes", "extra_headers", "finished", "first_byte_at", "headers", "keep_alive", "method", "more_body",
        "path", "quiet", "started", "status",
    )  # fmt: skip

    def __init__(
        self,
        head: RequestHead,
        writer: ClientWriter,
        on_end: "Callable[[Exchange], None]",
        on_read: Callable[[], None],
    ) -> None:
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        self.keep_alive = head.keep_alive
        self.more_body = True
        self.body_bytes = 0
        """Counted by whoever reads the body."""
        self.extra_headers = b""
        """Header lines that every answer to this request carries, errors included."""
        self.started = False
        self.finished = False
        self.quiet = True
        """Nothing has been sent since somebody last set this."""
        self.status = 0
        self.first_byte_at = 0.0
        """Of `time.monotonic`; 0 before the answer has started."""
        self._head = head
        self._writer = writer
        self._on_end = on_end
        self._on_read = on_read
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._waiting: asyncio.Future[None] | None = None
        self._expects_continue = head.expects_continue
        self._chunked = True

    def push(self, piece: bytes) -> int:
        """The connection has read a piece of the body. Returns the bytes that wait here."""
        if self.finished:
            return 0
        self._pieces.append(piece)
        self._buffered += len(piece)
        self.wake()
        return self._buffered

    def body_ended(self) -> None:
        if not self.finished:
            self.more_body = False
            self.wake()

    def wake(self) -> None:
        """Something has happened that `read_piece` may wait for."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def client_gone(self) -> bool:
        return self._writer.hung_up

    def on_hang_up(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` once, when the client hangs up; at once if it has. None forgets the one before."""
        self._writer.on_hang_up = callback
        if callback is not None and self._writer.hung_up:
            callback()

    @property
    def announced_bytes(self) -> int:
        """Of the body; 0 when it comes in chunks."""
        return int(self.headers.get(b"content-length", b"0"))

    @property
    def whole_body(self) -> bytes | None:
        """If all of it has arrived; in that usual case nothing has to be waited for."""
        if self.more_body:
            return None
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    async def read_piece(self) -> tuple[bytes, bool]:
        """What has arrived of the body, and whether there is more to come. Raises ClientGone."""
        if self._expects_continue and not self._writer.hung_up:
            self._expects_continue = False
            self._writer.write(CONTINUE)
        while self.more_body and not self._pieces and not self._writer.hung_up:
            self._on_read()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._writer.hung_up:
            raise ClientGone
        body, self._pieces, self._buffered = b"".join(self._pieces), [], 0
        self._on_read()
        return body, self.more_body

    def start(self, status: int, headers: Headers) -> None:
        """Begin a streamed answer: its length is unknown. In HTTP/1.0 it ends with the connection."""
        self._note_start(status)
        if self._head.http_1_0:
            self._chunked = False
        if not self._writer.hung_up:
            self._writer.write(self._answer_head(status, headers, CHUNKED if self._chunked else b""))

    async def send(self, chunk: bytes, *, more: bool = True) -> None:
        """Waits while the client's connection is full. Raises ClientGone."""
        writer = self._writer
        if writer.blocked:
            await writer.drain()
        if writer.hung_up:
            raise ClientGone
        self.quiet = False
        if more:
            self._write_chunk(chunk)
        else:
            self._end_stream(chunk)

    def pass_on(self, chunk: bytes) -> bool:
        """As `send` without waiting: False, and nothing is sent, when the client's connection is full or gone."""
        writer = self._writer
        if writer.paused or writer.hung_up:
            return False
        if chunk:
            self.quiet = False
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)
        return True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer, in one write. Raises ClientGone."""
        writer = self._writer
        if writer.blocked:
            await writer.drain()
        if writer.hung_up:
            raise ClientGone
        self._note_start(status)
        if self.more_body and (self._expects_continue or status == REQUEST_TIMEOUT):
            self.keep_alive = False  # It is unknown whether the next bytes are a body or a request.
        head = self._answer_head(status, headers, b"content-length: %d\r\n" % len(body))
        writer.write(head if self.method == "HEAD" else head + body)
        self._finish()

    def probe(self) -> None:
        """The client sends nothing more. Write a byte that means nothing: one that has gone answers with a reset."""
        if not self.started:
            self._writer.write(CONTINUE)
        elif self._chunked:
            self._write_chunk(EMPTY_COMMENT)

    @property
    def can_probe(self) -> bool:
        """HTTP/1.0 knows no bytes that mean nothing."""
        return not self._head.http_1_0

    def _write_chunk(self, chunk: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def _end_stream(self, chunk: bytes) -> None:
        if not self._chunked:
            self._writer.write(chunk)
        else:
            self._writer.write(b"%x\r\n%b\r\n%b" % (len(chunk), chunk, LAST_CHUNK) if chunk else LAST_CHUNK)
        self._finish()

    def _finish(self) -> None:
        self.finished = True
        self._pieces = []
        self._on_end(self)

    def _answer_head(self, status: int, headers: Headers, framing: bytes) -> bytes:
        self._expects_continue = False
        return b"".join(
            (
                STATUS_LINES[status],
                self._writer.date.line,
                header_lines(headers),
                self.extra_headers,
                framing,
                b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n",
            )
        )

    def _note_start(self, status: int) -> None:
        self.started = True
        self.status = status
        self.first_byte_at = time.monotonic()
