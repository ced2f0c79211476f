"""
Carry an upstream's answer to the client and settle its reservation, whatever happens on the way.

| how it ends | what the client sees | what is settled |
|---|---|---|
| the upstream's proper end | the answer | the upstream's own usage; our estimate, marked, if it reports none |
| the upstream dies | an error event and no [DONE] | what was delivered |
| the client hangs up | | what was delivered; the reported usage when `drain` reads on to it |
| this process must stop | the connection closes | what was delivered |

The last bytes go to the client when the settlement has been taken (by Redis, or by the spool while Redis is away): an
answer that was seen to end is in the ledger with the upstream's own counts, whatever dies next, and the client's next
request finds what this one has left, on any gateway. It costs one round trip to Redis, at the end of an answer.
"""

import asyncio
import contextlib
import logging
import time

from core.process.failpoints import Failpoints
from core.usage.usage_event import Outcome
from gateway.accounting.charge import Charge
from gateway.accounting.reservation import Reservation
from gateway.answering.keep_alive import EVENT_STREAM
from gateway.answering.opening import OpenAnswer
from gateway.answering.transport_failure import transport_failure
from gateway.dialects.client_api import ClientApi
from gateway.dialects.translator import Answer, StreamTranslator
from gateway.errors import ClientGone, UpstreamFailed
from gateway.failure import UpstreamFailure
from gateway.inbound.exchange import Exchange
from gateway.inbound.headers import Headers
from gateway.outbound.errors import TransportError
from gateway.records import metrics
from gateway.records.request_record import RequestRecord
from gateway.upstreams.upstream import AttemptOutcome

__all__ = ["Relay"]

log = logging.getLogger(__name__)

JSON: Headers = [(b"content-type", b"application/json")]
TAIL_SECONDS = 1.0
"""How long the end of a finished answer's body is waited for, so that its connection can be used again."""


class Relay:
    """One for the process; what belongs to one answer is in `_Relayed`."""

    def __init__(self, failpoints: Failpoints) -> None:
        self._failpoints = failpoints

    async def run(
        self,
        client: Exchange,
        record: RequestRecord,
        api: ClientApi,
        opened: OpenAnswer,
        reservation: Reservation,
    ) -> None:
        """Raises ClientGone after settling; nothing else that a client or an upstream can cause."""
        client.extra_headers += _origin_lines(record, opened, reservation)
        relayed = _Relayed(client, record, api, opened, reservation, self._failpoints)
        try:
            if opened.answer is not None:
                await relayed.whole(opened.answer)
            elif opened.stream is not None:
                await relayed.streamed(opened.stream)
        finally:
            opened.close(client)


class _Relayed:
    """One answer on its way."""

    __slots__ = ("_api", "_client", "_failpoints", "_opened", "_record", "_reservation")

    def __init__(
        self,
        client: Exchange,
        record: RequestRecord,
        api: ClientApi,
        opened: OpenAnswer,
        reservation: Reservation,
        failpoints: Failpoints,
    ) -> None:
        self._client = client
        self._record = record
        self._api = api
        self._opened = opened
        self._reservation = reservation
        self._failpoints = failpoints

    async def whole(self, answer: Answer) -> None:
        charge = self._reservation.charge(answer.usage, answer.usage_flaw, answer.estimated_output)
        outcome = Outcome.CLIENT_GONE if self._client.client_gone else Outcome.COMPLETE
        await self._settle(charge, outcome, answer.service_tier)
        self._note(answer.oddity)
        await self._client.answer(200, JSON, answer.body)

    async def streamed(self, stream: StreamTranslator) -> None:
        self._reservation.progress = stream
        outcome = Outcome.CUT  # Unless the rest gets to say more: cancelled by a shutdown.
        last = b""
        try:
            self._start()
            last = await self._pump(stream)
            outcome = self._judge(stream.failure)
        except ClientGone:
            outcome = Outcome.CLIENT_GONE
            raise
        except TransportError as error:
            failure = transport_failure(error)
            outcome = self._judge(failure)
            last = _broken_off(stream, failure.message)
        finally:
            await self._end(stream, outcome, last)

    def _start(self) -> None:
        client, opened = self._client, self._opened
        if not client.started:
            client.start(200, EVENT_STREAM)
            return
        # A keep-alive has: what it said is not said again, and the first byte that counts is this one.
        opened.first = self._api.continued(opened.first)
        client.first_byte_at = time.monotonic()

    def _judge(self, failure: UpstreamFailure | None) -> Outcome:
        """How the upstream has done, for its circuit and for the event. A hang-up says nothing about it."""
        self._opened.failure = failure
        self._opened.outcome = AttemptOutcome.FAILED if failure else AttemptOutcome.OK
        return Outcome.UPSTREAM_FAILED if failure else Outcome.COMPLETE

    async def _pump(self, stream: StreamTranslator) -> bytes:
        """Chunks from the upstream to the client until the answer's end; returns the bytes that end it."""
        client, upstream = self._client, self._opened.exchange
        out, more = self._opened.first, True

        def pass_on(chunk: bytes) -> bool:
            """The usual chunk goes through here, from socket to socket; False leaves `out` to the loop below."""
            nonlocal out
            self._failpoints.reach("mid_stream")
            out = stream.feed(chunk)
            return not stream.finished and stream.failure is None and client.pass_on(out)

        while not stream.finished and stream.failure is None and more:
            if out and not client.client_gone:
                with contextlib.suppress(ClientGone):  # Draining, or the next read says that the upstream is aborted.
                    await client.send(out)
            more = await upstream.forward(pass_on)
            if not more:
                out = stream.end()
        if client.client_gone:
            raise ClientGone
        if stream.failure is not None:
            return out + _broken_off(stream, stream.failure.message)
        return out

    async def _end(self, stream: StreamTranslator, outcome: Outcome, last: bytes) -> None:
        if stream.finished and (stream.usage is None or stream.usage_flaw):
            await _read_tail(self._opened, stream)  # Some upstreams report it after the end.
        flaw = stream.usage_flaw if stream.finished else outcome.value
        charge = self._reservation.charge(stream.usage, flaw, stream.delivered_output)
        await self._settle(charge, outcome, stream.service_tier)
        if outcome is Outcome.COMPLETE or outcome is Outcome.UPSTREAM_FAILED:
            await self._client.send(last, more=False)
        if stream.finished:
            self._note(stream.oddity)
            await _read_tail(self._opened, stream)

    def _note(self, oddity: str | None) -> None:
        if oddity is not None:
            metrics.UNUSUAL_ANSWERS.inc()
            log.warning("unusual answer", extra={"target": self._opened.upstream.target.name, "what": oddity})

    async def _settle(self, charge: Charge, outcome: Outcome, service_tier: str) -> None:
        self._failpoints.reach("before_settlement")
        received_at, now = self._record.received_at, time.monotonic()
        first_byte_at = self._client.first_byte_at or now
        await self._reservation.settle(
            charge,
            outcome,
            latency_ms=round((now - received_at) * 1000),
            first_byte_ms=round((first_byte_at - received_at) * 1000),
            upstream_request_id=self._opened.upstream_request_id,
            service_tier=service_tier,
        )
        self._failpoints.reach("after_settlement")


async def _read_tail(opened: OpenAnswer, stream: StreamTranslator) -> None:
    """An answer can be complete before its body is: without the body's end the connection can't serve again."""
    if opened.exchange.complete:
        return
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while chunk := await opened.exchange.next_chunk():
                stream.feed(chunk)
    except (TransportError, TimeoutError, ClientGone):
        return  # `close` drops the connection instead.


def _broken_off(stream: StreamTranslator, message: str) -> bytes:
    return stream.error_frame(message, UpstreamFailed.type, UpstreamFailed.code)


def _origin_lines(record: RequestRecord, opened: OpenAnswer, reservation: Reservation) -> bytes:
    overhead_ms = (time.monotonic() - record.received_at - record.upstream_seconds) * 1000
    return b"%bx-poindexter-attempts: %d\r\nx-poindexter-overhead-ms: %.2f\r\n" % (
        opened.upstream.target_line,
        reservation.attempt,
        overhead_ms,
    )
