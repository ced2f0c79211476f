"""One request and its answer, as its caller sees them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.outbound.coding import decoded
from gateway.outbound.errors import AnswerTooLarge, ExchangeAborted, TotalTimeout, TransportError
from gateway.outbound.response_parser import ResponseParser
from gateway.outbound.timeouts import Timeouts

__all__ = ["Carrier", "UpstreamExchange"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """The connection that carries an exchange, as the exchange knows it."""

    parser: ResponseParser
    drop: Callable[[], None]
    """Close at once."""
    release: Callable[[], None]
    """The exchange is done with it."""
    resume: Callable[[], None]
    """Read on: what had piled up was taken."""


class UpstreamExchange:
    """
    Made by `Transport.send`; end it with `close`, always: a connection hangs on it.

    One task at a time may wait for it. When that task is cancelled while it waits, the exchange aborts itself.
    `status` and `headers` (lower-case names) are there once `head` has returned.
    """

    __slots__ = (
        "_carrier",
        "_error",
        "_loop",
        "_sink",
        "_sink_is_full",
        "_waiter",
        "_withdraw",
        "body",
        "coding",
        "dispatched",
        "expires_at",
        "head_bytes",
        "headed",
        "headers",
        "paused",
        "status",
        "timeouts",
        "undelivered",
    )

    def __init__(
        self,
        withdraw: "Callable[[UpstreamExchange], None]",
        loop: asyncio.AbstractEventLoop,
        head: bytes,
        body: bytes,
        timeouts: Timeouts,
    ) -> None:
        """`withdraw` is called when it is aborted before a connection carries it."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.headed = False
        self.coding = b""
        """How the body is compressed, though we ask for none; empty when it is not."""
        self.dispatched = False
        """A connection has been given the request: the upstream may have seen it."""
        self.head_bytes = head
        self.body = body
        self.timeouts = timeouts
        self.undelivered = 0
        """Bytes of the connection that have arrived and were not taken yet."""
        self.paused = False
        """The connection reads nothing until they are."""
        self.expires_at = loop.time() + timeouts.total
        self._withdraw = withdraw
        self._loop = loop
        self._carrier: Carrier | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._sink_is_full = False

    @property
    def complete(self) -> bool:
        """Whether the body has ended cleanly: nothing more will come, and the connection can serve again."""
        return self._carrier is None or self._carrier.parser.complete

    async def head(self) -> int:
        """Wait for the response head; returns the status. Raises a TransportError, or what `abort` was given."""
        while not self.headed:
            if self._error is not None:
                raise self._error
            await self._progress()
        return self.status

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, named in lower case; without the white space that may follow it on the wire."""
        for candidate, value in self.headers:
            if candidate == name:
                return value.rstrip(b" \t")
        return None

    async def next_chunk(self) -> bytes:
        """
        Everything that has arrived since the last call, joined; `b""` at the clean end of the body.

        What arrived before a failure is returned first, then the failure is raised: a TransportError, or what
        `abort` was given.
        """
        parser = await self._answering()
        while not parser.body:
            if self._error is not None:
                raise self._error
            if parser.complete:
                return b""
            await self._progress()
        return self._take(parser)

    async def forward(self, sink: Callable[[bytes], bool]) -> bool:
        """
        Give `sink` each chunk the moment it arrives, without waking this task, until it answers False.

        Returns True then, and False at the clean end of the body. Raises what `next_chunk` does. An error of `sink`
        itself closes the connection, as any error in a protocol does.
        """
        parser = await self._answering()
        self._sink, self._sink_is_full = sink, False
        try:
            while not self._sink_is_full:
                if parser.body:
                    self._sink_is_full = not sink(self._take(parser))
                elif self._error is not None:
                    raise self._error
                elif parser.complete:
                    return False
                else:
                    await self._progress()
            return True
        finally:
            self._sink = None

    async def read(self, limit: int) -> bytes:
        """The whole body, decompressed. Past `limit` bytes the exchange is aborted with AnswerTooLarge."""
        body = await self._read(limit)
        if not self.coding:
            return body
        body = decoded(body, self.coding, limit + 1)
        if len(body) > limit:
            raise _too_large(limit)
        return body

    async def read_some(self, limit: int) -> bytes:
        """What there is of the first `limit` bytes, decompressed: also of a body that breaks off."""
        chunks: list[bytes] = []
        size = 0
        try:
            while size < limit and (chunk := await self.next_chunk()):
                chunks.append(chunk)
                size += len(chunk)
            body = b"".join(chunks)
            return decoded(body, self.coding, limit) if self.coding else body[:limit]
        except TransportError:
            return b"" if self.coding else b"".join(chunks)[:limit]

    async def _read(self, limit: int) -> bytes:
        chunk = await self.next_chunk()
        if len(chunk) <= limit and self.complete:
            return chunk
        chunks = []
        size = 0
        while chunk:
            size += len(chunk)
            if size > limit:
                self.abort(_too_large(limit))
            chunks.append(chunk)
            chunk = await self.next_chunk()
        return b"".join(chunks)

    def abort(self, error: BaseException | None = None) -> None:
        """
        Give up at once: nothing more is sent, queued or read, and the connection is closed.

        May be called from any callback, at any moment, more than once. A pending or later wait raises `error`.
        """
        if self._error is None:
            self._error = error or ExchangeAborted("the exchange was aborted", dispatched=self.dispatched)
        if self._carrier is None:
            self._withdraw(self)
        else:
            self._carrier.drop()
        self.wake()

    def close(self) -> None:
        """Hand the connection back if the body has ended cleanly, else close it."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.release()
        elif self._error is None:
            self.abort()
        if self._error is not None:
            # What was raised holds the frames it passed, and they hold this exchange: only the garbage collector would
            # end such a cycle.
            self._error = ExchangeAborted("the exchange is closed", dispatched=self.dispatched)

    def attach(self, carrier: Carrier | None) -> None:
        """None: the connection before had been closed by the upstream as idle, which saw nothing of the request."""
        self._carrier = carrier
        self.dispatched = carrier is not None

    def accept_head(self, status: int, headers: list[tuple[bytes, bytes]], coding: bytes) -> None:
        self.status = status
        self.headers = headers
        self.coding = coding
        self.headed = True
        self.head_bytes = self.body = b""  # Only a second attempt would need them, and there will be none.

    def arrived(self) -> None:
        """A part of the body has, or its end."""
        sink, carrier = self._sink, self._carrier
        if sink is not None and self._waiter is not None and carrier is not None:  # Else what came before is first.
            parser = carrier.parser
            if parser.body:
                self._sink_is_full = not sink(self._take(parser))
            if not self._sink_is_full and not parser.complete:
                return
        self.wake()

    def fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self.wake()

    def expire(self) -> None:
        message = f"the exchange took longer than {self.timeouts.total:g} s"
        self.fail(TotalTimeout(message, dispatched=self.dispatched))

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _answering(self) -> ResponseParser:
        """The parser of the answer, once the head is there."""
        if not self.headed:
            await self.head()
        if self._carrier is None:
            raise self._error or ExchangeAborted("the exchange is closed", dispatched=True)
        return self._carrier.parser

    def _take(self, parser: ResponseParser) -> bytes:
        """Everything that has arrived, joined."""
        body = parser.body
        chunk = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self.undelivered = 0
        if self.paused and self._carrier is not None:
            self.paused = False
            self._carrier.resume()
        return chunk

    async def _progress(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:  # Cancelled: the caller will not close us.
            self.abort()
            raise


def _too_large(limit: int) -> AnswerTooLarge:
    return AnswerTooLarge(f"the response body is longer than {limit} bytes")
