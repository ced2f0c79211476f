"""
The client of a stream never waits long for a byte: proxies and clients take a silent connection for a dead one, while
a model may think for minutes. After a while without content the head of the answer goes out and then, again and again,
a chunk that says nothing. Failover may still go on behind it; what fails from then on is told by an error event.

The form is a whole chunk, because each of the others breaks somebody: a comment some hand-made parsers, and the error
event that follows it in others; a blank line those that take it for an event without data. The first one carries the
role, as a first chunk does everywhere, and its id is empty as long as no upstream has given one.
"""

import asyncio
import time
from types import TracebackType

from gateway.chat_request import ChatRequest
from gateway.errors import GatewayError
from gateway.exchange import ClientGone, Exchange
from gateway.headers import Headers
from gateway.reservation import Reservation
from gateway.translators.error_frame import error_frame
from gateway.translators.keep_alive_frame import keep_alive_frame

__all__ = ["EVENT_STREAM", "KeepAlives"]

EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold chunks back.
]
LOOKS = 4
"""How often in an interval each stream is looked at."""
PAUSE_AFTER = 500
"""Streams in one turn of the loop: ten thousand at once would delay every other."""


class KeepAlives:
    """The open streams of this process. `seconds` without a byte, and a quarter more, is the longest silence."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[_Kept, None] = {}

    def of(self, client: Exchange, chat: ChatRequest, reservation: Reservation) -> "_Kept":
        """`async with`: kept alive inside, if it is a stream. An error that comes after the head is told the client."""
        return _Kept(self._open, client, chat, reservation, due=time.monotonic() + self._seconds)

    async def run(self) -> None:
        """Until cancelled."""
        step = self._seconds / LOOKS
        while True:
            await asyncio.sleep(step)
            for number, kept in enumerate(list(self._open), 1):
                kept.look(time.monotonic(), self._seconds - step)
                if number % PAUSE_AFTER == 0:
                    await asyncio.sleep(0)


class _Kept:
    """One stream."""

    __slots__ = ("_chat", "_client", "_due", "_open", "_reservation")

    def __init__(
        self,
        open_streams: "dict[_Kept, None]",
        client: Exchange,
        chat: ChatRequest,
        reservation: Reservation,
        *,
        due: float,
    ) -> None:
        self._open = open_streams
        self._client = client
        self._chat = chat
        self._reservation = reservation
        self._due = due

    async def __aenter__(self) -> None:
        if self._chat.stream:
            self._open[self] = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.pop(self, None)
        client = self._client
        if isinstance(error, GatewayError) and client.started and not client.finished:
            client.status = error.status  # For the log and the metrics: the client has been told 200.
            try:
                await client.send(error_frame(error.message, error.type, error.code, error.param), more=False)
            except ClientGone:
                return  # Nobody is left to be told.

    def look(self, now: float, after: float) -> None:
        """Send something if nothing has been sent for so long."""
        client = self._client
        if not client.quiet:
            client.quiet, self._due = True, now + after
        elif now >= self._due and not client.finished:
            self._due = now + after
            self._speak()

    def _speak(self) -> None:
        client, stream = self._client, self._reservation.progress
        if client.client_gone:
            return
        first = not client.started
        frame = keep_alive_frame(
            id=(stream.response_id if stream else None) or "",
            model=(stream.response_model if stream else None) or self._chat.model,
            created=client.received_ms // 1000,
            first=first,
        )
        if first:
            client.start(200, EVENT_STREAM)
        client.pass_on(frame)
        client.quiet = True
