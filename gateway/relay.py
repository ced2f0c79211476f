"""
Carry an upstream's answer to the client and settle its reservation, whatever happens on the way.

| how it ends | what the client sees | what is settled |
|---|---|---|
| the upstream's proper end | the answer | the upstream's own usage; our estimate, marked, if it reports none |
| the upstream dies | an error event and no [DONE] | what was delivered |
| the client hangs up | | what was delivered; the reported usage when `drain` reads on to it |
| this process must stop | the connection closes | what was delivered |

The settlement is written to Redis before the last bytes go to the client and awaited after them: nobody waits for the
ledger, and an answer that was seen to end is on its way to the ledger.
"""

import asyncio
import time
from dataclasses import replace

from core.token_usage import TokenUsage
from core.usage_event import Outcome
from gateway.errors import UpstreamFailed
from gateway.exchange import ClientGone, Exchange, Headers
from gateway.failover import OpenAnswer, transport_failure
from gateway.reservation import Ending, Reservation
from gateway.translators.translator import Answer, StreamTranslator
from gateway.transport.errors import TransportError

__all__ = ["Relay"]

JSON: Headers = [(b"content-type", b"application/json")]
EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold chunks back.
]
TAIL_SECONDS = 1.0
"""How long the end of a finished answer's body is waited for, so that its connection can be used again."""


class Relay:
    """Stateless; one for the process."""

    async def run(self, client: Exchange, opened: OpenAnswer, reservation: Reservation) -> None:
        """Raises ClientGone after settling; nothing else that a client or an upstream can cause."""
        client.answer_headers += _origin_headers(client, opened, reservation)
        try:
            if opened.answer is not None:
                await _relay_whole(client, opened, opened.answer, reservation)
            elif opened.stream is not None:
                await _relay_stream(client, opened, opened.stream, reservation)
        finally:
            client.on_hang_up(None)
            opened.exchange.close()


async def _relay_whole(client: Exchange, opened: OpenAnswer, answer: Answer, reservation: Reservation) -> None:
    usage, reason = _metered(answer.usage, answer.usage_flaw, answer.estimated_output, reservation)
    outcome = Outcome.CLIENT_GONE if client.client_gone else Outcome.COMPLETE
    settled = reservation.settle(_ending(client, opened, usage, outcome, reason))
    try:
        await client.answer(200, JSON, answer.body)
    finally:
        await settled


async def _relay_stream(
    client: Exchange, opened: OpenAnswer, stream: StreamTranslator, reservation: Reservation
) -> None:
    reservation.progress = stream
    outcome = Outcome.CUT  # Unless the loop below gets to say more: cancelled by a shutdown.
    last = b""
    try:
        await client.start(200, EVENT_STREAM)
        last = await _pump(client, opened, stream)
        outcome = Outcome.UPSTREAM_FAILED if stream.failure else Outcome.COMPLETE
    except ClientGone:
        outcome = Outcome.CLIENT_GONE
        raise
    except TransportError as error:
        outcome = Outcome.UPSTREAM_FAILED
        last = _broken_off(stream, transport_failure(error).message)
    finally:
        await _end(client, opened, stream, reservation, outcome, last)


async def _pump(client: Exchange, opened: OpenAnswer, stream: StreamTranslator) -> bytes:
    """Chunks from the upstream to the client until the answer's end; returns the bytes that end it."""
    chunk, out, hung_up = b"start", opened.first, False
    while not stream.finished and stream.failure is None and chunk:
        if out and not hung_up:
            try:
                await client.send(out)
            except ClientGone:
                hung_up = True  # Draining, or the upstream is being aborted and the next read says so.
        chunk = await opened.exchange.next_chunk()
        out = stream.feed(chunk) if chunk else stream.end()
    if hung_up:
        raise ClientGone
    if stream.failure is not None:
        return out + _broken_off(stream, stream.failure.message)
    return out


async def _end(
    client: Exchange,
    opened: OpenAnswer,
    stream: StreamTranslator,
    reservation: Reservation,
    outcome: Outcome,
    last: bytes,
) -> None:
    flaw = stream.usage_flaw if stream.finished else outcome.value
    usage, reason = _metered(stream.usage, flaw, stream.delivered_output, reservation)
    settled = reservation.settle(_ending(client, opened, usage, outcome, reason))
    try:
        if outcome is not Outcome.CLIENT_GONE and outcome is not Outcome.CUT:
            await client.send(last, more=False)
        if stream.finished:
            await _read_tail(opened)
    finally:
        await settled


async def _read_tail(opened: OpenAnswer) -> None:
    """An answer can be complete before its body is: without the body's end the connection can't serve again."""
    if opened.exchange.complete:
        return
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while await opened.exchange.next_chunk():
                pass
    except (TransportError, TimeoutError, ClientGone):
        return  # `close` drops the connection instead.


def _broken_off(stream: StreamTranslator, message: str) -> bytes:
    return stream.error_frame(message, UpstreamFailed.type, UpstreamFailed.code)


def _metered(
    reported: TokenUsage | None, flaw: str | None, delivered: int, reservation: Reservation
) -> tuple[TokenUsage, str]:
    """What is charged, and why it is our own count ("" when it is the upstream's)."""
    if reported is not None and not flaw:
        return reported, ""
    bounded = min(delivered, reservation.granted_output * reservation.choices)
    if reported is None:
        return TokenUsage(input=reservation.likely_input, output=bounded), flaw or "no_usage_reported"
    usage = reported if reported.prompt else replace(reported, input=reservation.likely_input)
    # A placeholder, or a count that stopped growing: what was delivered was used as well.
    return replace(usage, output=max(usage.output, bounded - usage.reasoning)), flaw or ""


def _ending(client: Exchange, opened: OpenAnswer, usage: TokenUsage, outcome: Outcome, reason: str) -> Ending:
    now = time.monotonic()
    first_byte = client.first_byte_seconds or now - client.received_at
    return Ending(
        usage=usage,
        outcome=outcome,
        estimated=reason,
        latency_ms=round((now - client.received_at) * 1000),
        first_byte_ms=round(first_byte * 1000),
        upstream_request_id=opened.upstream_request_id,
    )


def _origin_headers(client: Exchange, opened: OpenAnswer, reservation: Reservation) -> Headers:
    overhead = time.monotonic() - client.received_at - client.upstream_seconds
    return [
        (b"x-poindexter-target", opened.upstream.target.name.encode()),
        (b"x-poindexter-attempts", b"%d" % reservation.attempt),
        (b"x-poindexter-overhead-ms", b"%.2f" % (overhead * 1000)),
    ]
