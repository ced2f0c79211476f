"""
Server-sent events without I/O: bytes in, events out.

Lines are split as bytes, never as text: JSON may hold U+2028 and other characters that `str.splitlines` takes for line
ends. A line ends with LF, CRLF or CR, at whatever byte the network cut the stream.
"""

import re
from dataclasses import dataclass

__all__ = ["MAX_EVENT_BYTES", "EventTooLarge", "LineEnds", "SSEDecoder", "ServerSentEvent"]

MAX_EVENT_BYTES = 16 << 20
"""An image comes as one event, as a data URL."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANK_LINES = re.compile(rb"\n{3,}")
"""All but the first blank line mean nothing. A megabyte of them, line by line, would keep the loop for a second."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """`event` is None where the stream names no type. Several `data:` lines are joined by line feeds."""

    event: bytes | None
    data: bytes


class EventTooLarge(Exception):
    """One event is longer than the limit. `events` are those that were complete before it."""

    def __init__(self, limit: int, events: list[ServerSentEvent]) -> None:
        super().__init__(f"an event is longer than {limit} bytes")
        self.events = events


class LineEnds:
    """Turns CRLF and CR into LF across chunk borders."""

    __slots__ = ("after_carriage_return",)

    def __init__(self) -> None:
        self.after_carriage_return = False
        """The last byte was a CR, which already ended its line: an LF that follows belongs to it."""

    def normalise(self, chunk: bytes) -> bytes:
        if self.after_carriage_return and chunk:
            self.after_carriage_return = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self.after_carriage_return = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk


class SSEDecoder:
    """Feed it chunks in order. An event is complete at its blank line; what the stream's end cuts off is no event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line_ends = LineEnds()
        self._first_line = True
        self._line = bytearray()
        self._event: bytes | None = None
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that this chunk completes. Raises EventTooLarge; the decoder is of no use after that."""
        chunk = self._line_ends.normalise(chunk)
        if b"\n\n\n" in chunk:
            chunk = BLANK_LINES.sub(b"\n\n", chunk)
        first, *more = chunk.split(b"\n")
        self._line += first
        events: list[ServerSentEvent] = []
        if more:
            lines = [bytes(self._line), *more]
            self._line = bytearray(lines.pop())
            for line in lines:
                self._require_size(len(line), events)
                if event := self._accept(line):
                    events.append(event)
        self._require_size(len(self._line), events)
        return events

    def _require_size(self, length: int, events: list[ServerSentEvent]) -> None:
        if self._size + length > self._max_event_bytes:
            raise EventTooLarge(self._max_event_bytes, events)

    def _accept(self, line: bytes) -> ServerSentEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        self._size += len(line)
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ")
        return None  # `id`, `retry`, comments (an empty name) and unknown fields say nothing to a gateway.

    def _dispatch(self) -> ServerSentEvent | None:
        event = None
        if self._data:
            event, self._data = ServerSentEvent(self._event, b"\n".join(self._data)), []
        self._event, self._size = None, 0
        return event
