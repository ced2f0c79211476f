"""
HTTP/1.1 requests from bytes, without a socket: bytes in, events out. The grammar is llhttp's (httptools); here are the
bounds and the rules that it leaves to a server.

    [RequestHead, b"...", END, RequestHead, ...]        a BadRequest is the last event of a connection

* A head is bounded in size, and so are trailers, extensions of chunks and blank lines.
* Repeated fields become one (`headers`), trailers are dropped, an offer to change the protocol is ignored (RFC 9110,
  7.8), `CONNECT` is refused.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from gateway.inbound.headers import head_without_upgrade, joined

__all__ = ["END", "BadRequest", "Event", "RequestHead", "RequestParser"]

MAX_HEAD_BYTES = 65_536
MAX_REPEATED_FIELDS = 100
INVALID = "This is not a valid HTTP/1.1 request."
TOO_LARGE = f"The request head is larger than {MAX_HEAD_BYTES:,} bytes."
PLAIN = bytes(set(range(0x21, 0x7F)) - set(b"?#%"))
"""The bytes of a target that is its own path."""


@dataclass(slots=True)
class RequestHead:
    method: str
    path: str
    """Percent-decoded, without the query."""
    headers: dict[bytes, bytes]
    """By lower-case name, one value each."""
    http_1_0: bool
    keep_alive: bool
    expects_continue: bool


@dataclass(slots=True)
class BadRequest:
    status: int
    message: str


class _End:
    """The request is whole."""


END = _End()

Event = RequestHead | bytes | _End | BadRequest


class _Refused(Exception):
    """Ends the parser's work on a head that it would accept; `_flaw` says why."""


class RequestParser:
    """One for a connection. After a BadRequest nothing more may be fed."""

    def __init__(self) -> None:
        self.in_head = False
        """A head has begun and is not complete."""
        self._parser = self._new_parser()
        self._events: list[Event] = []
        self._url = b""
        self._fields: dict[bytes, bytes] = {}
        self._repeated = 0
        self._flaw = BadRequest(400, INVALID)
        self._head_bytes = 0
        self._body_bytes = 0
        """Of the piece that is being read."""
        self._quiet = True
        """The piece that is being read holds neither the end of a head nor a byte of a body."""
        self._quiet_bytes = 0

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        self._events = events
        self._body_bytes = 0
        self._quiet = True
        try:
            self._feed(data)
        except HttpParserError:
            events.append(self._flaw)
            return events
        if self.in_head:
            self._bound_head(data)
        elif self._quiet:
            self._quiet_bytes += len(data)
            if self._quiet_bytes > MAX_HEAD_BYTES:
                events.append(BadRequest(431, TOO_LARGE))
        return events

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while rest:
            try:
                self._parser.feed_data(rest)
            except HttpParserUpgrade as upgrade:  # The parser takes even a body for the other protocol's.
                rest = memoryview(rest)[upgrade.args[0] :]
                method, version = self._parser.get_method(), self._parser.get_http_version()
                self._parser = self._new_parser()  # The one before would read no head after `connection: close`.
                self._parser.feed_data(head_without_upgrade(method, self._url, version.encode(), self._fields))
            else:
                return

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        # A request behind `connection: close` is read, and never answered: the answer before it still is.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def on_message_begin(self) -> None:
        self.in_head = True
        self._url = b""
        self._fields = {}
        self._repeated = 0
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            return  # A trailer: nothing in it may change a request that is being served.
        name = name.lower()
        if name in self._fields:
            value = self._join(name, value)
        self._fields[name] = value

    def on_headers_complete(self) -> None:
        self._quiet = False
        self._quiet_bytes = 0
        parser, fields = self._parser, self._fields
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise _Refused
            return  # `_feed` reads the head once more, without the offer.
        http_1_0 = parser.get_http_version() == "1.0"
        if b"host" not in fields and not http_1_0:
            self._flaw = BadRequest(400, "The header host is missing.")
            raise _Refused
        self.in_head = False
        self._events.append(
            RequestHead(
                parser.get_method().decode("ascii"),
                _path(self._url),
                fields,
                http_1_0,
                not http_1_0 and parser.should_keep_alive(),
                b"expect" in fields and fields[b"expect"].lower() == b"100-continue",
            )
        )

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._quiet = False
        self._quiet_bytes = 0
        self._events.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():
            self._events.append(END)

    def _join(self, name: bytes, value: bytes) -> bytes:
        self._repeated += 1
        merged = joined(name, self._fields[name], value)
        if merged is None:
            self._flaw = BadRequest(400, f"The header {name.decode('latin-1')} must not be repeated.")
        elif self._repeated > MAX_REPEATED_FIELDS:
            self._flaw = BadRequest(431, f"More than {MAX_REPEATED_FIELDS} header lines repeat others.")
        else:
            return merged
        raise _Refused

    def _bound_head(self, data: bytes) -> None:
        """A head may not grow without end."""
        size = len(data)
        if self._head_bytes == 0:  # It begins in this piece, perhaps behind other requests.
            before = data.rfind(b"\r\n\r\n")
            size = max(0, size - self._body_bytes - (before + 4 if before >= 0 else 0))
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._events.append(BadRequest(431, TOO_LARGE))


def _path(target: bytes) -> str:
    """Raises HttpParserInvalidURLError or UnicodeDecodeError for what is no target; llhttp turns them into its own."""
    if target.startswith(b"/") and not target.translate(None, PLAIN):
        return target.decode("ascii")
    path = (parse_url(target).path or b"").decode("ascii")
    return unquote(path) if "%" in path else path
