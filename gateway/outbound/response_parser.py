"""
An HTTP/1.1 response from bytes, wherever they were split. No I/O.

llhttp (in httptools) does the grammar and is strict: obs-fold, bare LF, NUL and other control bytes in header values,
duplicate or signed lengths, length plus chunked and a change of protocol (101) are refused by it. This module adds
what a client must decide.
"""

import httptools

from gateway.outbound.errors import MalformedResponse

WATCHED = frozenset((b"content-encoding", b"transfer-encoding"))
FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class ResponseParser:
    """
    Parses the responses of one connection, one after the other.

    `status`, `headers` (lower-case names) and `coding` (how the body is compressed, if it is) are there once `headed`;
    `body` collects pieces until its reader clears it; `complete` is the clean end; `reusable` then says whether another
    request may follow on this connection.
    Interim responses (1xx) are skipped, trailers ignored. Stray line breaks between responses count as nothing.
    """

    __slots__ = (
        "_chunked",
        "_engine",
        "_framing_room",
        "_head_room",
        "_interim",
        "_max_head_bytes",
        "body",
        "coding",
        "complete",
        "headed",
        "headers",
        "on_body",
        "reusable",
        "status",
    )

    def __init__(self, *, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self.body: list[bytes] = []
        self.on_body = self.body.append  # Called by the engine without a Python frame in between.
        self._engine = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        """Get ready for the next response of the same connection; only after `complete` and `reusable`."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.headed = False
        self.coding = b""
        self.complete = False
        self.reusable = True
        self.body.clear()
        self._interim = False
        self._chunked = False
        self._head_room = self._framing_room = self._max_head_bytes

    @property
    def untouched(self) -> bool:
        """Not one byte of this response has arrived."""
        return self._head_room == self._max_head_bytes

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection, at least one. Raises MalformedResponse; feed no more then."""
        if self.complete:
            self.reusable = False  # More than was asked for: what follows cannot be trusted.
        elif self.headed:
            self._execute(data)
            if self.body:
                self._framing_room = self._max_head_bytes
            else:
                self._bound_framing(len(data))
        else:
            self._feed_head(data)

    def eof(self) -> bool:
        """The peer has closed. True if that is where the body ends: no length, not chunked."""
        if self.headed and not any(name in FRAMING for name, _ in self.headers):
            self.complete = True
        return self.complete

    def close(self) -> None:
        """The connection is gone: nothing can be fed any more. The engine and its parser hold each other until then."""
        del self._engine

    def _feed_head(self, data: bytes) -> None:
        room = self._head_room
        if len(data) <= room:
            self._head_room = room - len(data)
            self._execute(data)
            return
        self._head_room = 0
        self._execute(data[:room])
        if not self.headed:
            raise MalformedResponse(f"the response head is longer than {self._max_head_bytes} bytes")
        self.feed(data[room:])

    def _bound_framing(self, size: int) -> None:
        """Chunk sizes, extensions and trailers bring no body; llhttp would take them without end."""
        self._framing_room -= size
        if self._framing_room < 0:
            raise MalformedResponse(f"more than {self._max_head_bytes} bytes of chunk framing without a body")

    def _execute(self, data: bytes) -> None:
        try:
            self._engine.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.complete:
                self.reusable = False  # The response is whole; the trouble lies behind it.
                return
            ours = error.__context__
            raise ours if isinstance(ours, MalformedResponse) else MalformedResponse(str(error)) from None

    # The engine calls these. An exception stops it, and arrives in `_execute` as the context of its own.

    def on_message_begin(self) -> None:
        if self.complete:
            raise MalformedResponse("a second response to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            return  # A trailer.
        name = name.lower()
        if name in WATCHED:
            self._inspect(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._engine.get_status_code()
        if status < 200:
            self._skip(status)
            return
        if status > 599:
            raise MalformedResponse(f"status {status}")
        self.status = status
        self.headed = True
        self.reusable = self._engine.should_keep_alive()

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self.complete = True

    def _inspect(self, name: bytes, value: bytes) -> None:
        coding = value.strip().lower()
        if name == b"content-encoding":
            if coding not in (b"identity", b""):
                self.coding = self.coding + b", " + coding if self.coding else coding
        elif coding != b"chunked" or self._chunked:
            raise MalformedResponse("a transfer coding other than one chunked")
        else:
            self._chunked = True

    def _skip(self, status: int) -> None:
        if status < 100:
            raise MalformedResponse(f"status {status}")
        self._interim = True
        self._chunked = False
        self.coding = b""
        self.headers.clear()
