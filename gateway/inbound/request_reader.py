"""
The reading side of a client connection: uvicorn's, with bounds.

* A request head is bounded in size (431) and in time (408), so are the trailers and whatever else is no body.
* Repeated fields become one (`headers`), trailers are dropped, an offer to change the protocol is ignored.
* What is refused here is answered at once, and the connection closes in two steps, so that the client can read why.
"""

import asyncio

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.inbound.headers import head_without_upgrade, joined

__all__ = ["RequestReader"]

MAX_HEAD_BYTES = 65_536
MAX_REPEATED_FIELDS = 100
HEAD_SECONDS = 10.0
LINGER_SECONDS = 5.0
"""How long what a refused client still sends is read and dropped: a connection closed on unread data is reset."""

INVALID = "This is not a valid HTTP/1.1 request."
TOO_LATE = f"The request head did not arrive within {HEAD_SECONDS:g} seconds."
TOO_LARGE = f"The request head is larger than {MAX_HEAD_BYTES:,} bytes."
CODES = {400: "invalid_http", 408: "request_timeout", 431: "request_header_fields_too_large", 503: "overloaded"}


class _BadHead(Exception):
    """Ends the parser's work on a head that it would accept; `_flaw` says why."""


class RequestReader(HttpToolsProtocol):
    discarding: bool
    """The last answer has been written: whatever still comes is dropped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.discarding = False
        self._fields: dict[bytes, bytes] = {}
        self._repeated = 0
        self._flaw = (400, INVALID)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        """Of the piece that is being read."""
        self._quiet = True
        """The piece that is being read holds neither the end of a head nor a byte of a body."""
        self._quiet_bytes = 0
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.discarding:
            return
        self._body_bytes = 0
        self._quiet = True
        try:
            self._feed(data)
        except HttpParserError:
            self.refuse(*self._flaw)
            return
        if self.headers is not None:
            self._bound_head(data)
        elif self._quiet:
            self._bound_quiet(len(data))

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self.parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:  # The parser takes even a body for the other protocol's.
                rest = memoryview(rest)[upgrade.args[0] :]
                method, version = self.parser.get_method(), self.parser.get_http_version()
                self.parser = HttpRequestParser(self)  # The one before would read no head after `connection: close`.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # As uvicorn's.
                self.parser.feed_data(head_without_upgrade(method, self.url, version.encode(), self._fields))
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._repeated = 0
        self._fields = {}
        self.scope["headers"] = self._fields  # type: ignore[typeddict-item]  # One value a field: `Exchange` knows.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headers is None:
            return  # A trailer: nothing in it may change a request that is being served.
        name = name.lower()
        if name in self._fields:
            value = self._join(name, value)
        self._fields[name] = value

    def _join(self, name: bytes, value: bytes) -> bytes:
        self._repeated += 1
        merged = joined(name, self._fields[name], value)
        if merged is None:
            self._flaw = 400, f"The header {name.decode('latin-1')} must not be repeated."
        elif self._repeated > MAX_REPEATED_FIELDS:
            self._flaw = 431, f"More than {MAX_REPEATED_FIELDS} header lines repeat others."
        else:
            return merged
        raise _BadHead

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._quiet = False
        self._quiet_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _BadHead
            return  # `_feed` reads the head once more, without the offer.
        fields = self._fields
        if b"host" not in fields and self.parser.get_http_version() != "1.0":
            self._flaw = 400, "The header host is missing."
            raise _BadHead
        self.expect_100_continue = fields.get(b"expect", b"").lower() == b"100-continue"
        super().on_headers_complete()
        self.headers = None  # type: ignore[assignment]  # The scope holds them; None says: no head is under way.

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._quiet = False
        self._quiet_bytes = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() or self.cycle.response_complete:
            return
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def _bound_head(self, data: bytes) -> None:
        """Called while a head is incomplete: it may neither grow nor wait without end."""
        size = len(data)
        if self._head_bytes == 0:  # It begins in this piece, perhaps behind other requests.
            before = data.rfind(b"\r\n\r\n")
            size = max(0, size - self._body_bytes - (before + 4 if before >= 0 else 0))
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self.refuse(431, TOO_LARGE)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.refuse, 408, TOO_LATE)

    def _bound_quiet(self, size: int) -> None:
        """Trailers, the extensions of a chunk, blank lines: the parser would keep some of them."""
        self._quiet_bytes += size
        if self._quiet_bytes > MAX_HEAD_BYTES:
            self.refuse(431, TOO_LARGE)

    @property
    def _owes_answers(self) -> bool:
        """Whole requests have come before what is refused."""
        cycle = self.cycle
        return bool(self.pipeline) or (cycle is not None and not cycle.more_body and not cycle.response_complete)

    def refuse(self, status: int, message: str) -> None:
        """Answer what is no request, and close."""
        if self.discarding or self.transport.is_closing():
            return
        if self._owes_answers:  # Now it would be taken for one of them, or stand in the middle of a stream.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        kind = "api_error" if status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": CODES[status]}
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        retry = b"retry-after: 1\r\n" if status >= 500 else b""
        self.transport.write(b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, retry, body))
        self.close_slowly()
        self.drop_requests()

    def drop_requests(self) -> None:
        """Whoever works on a request of this connection learns that it will neither be whole nor be answered."""

    def close_slowly(self) -> None:
        """Close our side, and drop what the client still sends until it closes its own."""
        if self.discarding or self.transport.is_closing():
            return
        self.discarding = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
