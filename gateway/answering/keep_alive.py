"""
The client of a stream never waits long for a byte: proxies and clients take a silent connection for a dead one, while
a model may think for minutes. After a while without content the head of the answer goes out and then, again and again,
a chunk that says nothing. Failover may still go on behind it; what fails then is told by an error event (`router`).

The form is a whole chunk, because each of the others breaks somebody: a comment some hand-made parsers, and the error
event that follows it in others; a blank line those that take it for an event without data. The first one carries the
role, as a first chunk does everywhere, and its id is empty as long as no upstream has given one.
"""

import asyncio
import time

from gateway.accounting.reservation import Reservation
from gateway.dialects.client_api import ClientApi
from gateway.dialects.generation_request import GenerationRequest
from gateway.inbound.exchange import Exchange
from gateway.inbound.headers import Headers
from gateway.records.request_record import RequestRecord

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
        self._open: dict[Exchange, _Kept] = {}

    def add(
        self,
        client: Exchange,
        record: RequestRecord,
        api: ClientApi,
        request: GenerationRequest,
        reservation: Reservation,
    ) -> None:
        """From now on, until `remove`."""
        self._open[client] = _Kept(client, record, api, request, reservation, due=time.monotonic() + self._seconds)

    def remove(self, client: Exchange) -> None:
        self._open.pop(client, None)

    async def run(self) -> None:
        """Until cancelled."""
        step = self._seconds / LOOKS
        while True:
            await asyncio.sleep(step)
            for number, kept in enumerate(list(self._open.values()), 1):
                kept.look(time.monotonic(), self._seconds - step)
                if number % PAUSE_AFTER == 0:
                    await asyncio.sleep(0)


class _Kept:
    """One stream."""

    __slots__ = ("_api", "_client", "_due", "_record", "_request", "_reservation")

    def __init__(
        self,
        client: Exchange,
        record: RequestRecord,
        api: ClientApi,
        request: GenerationRequest,
        reservation: Reservation,
        *,
        due: float,
    ) -> None:
        self._client = client
        self._record = record
        self._api = api
        self._request = request
        self._reservation = reservation
        self._due = due

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
        frame = self._api.keep_alive(
            id=(stream.response_id if stream else None) or "",
            model=(stream.response_model if stream else None) or self._request.model,
            created=self._record.received_ms // 1000,
            first=first,
        )
        if first:
            client.start(200, EVENT_STREAM)
        client.pass_on(frame)
        client.quiet = True
