"""The beginning of an upstream's answer: its head, then a stream up to its first content, or a whole answer."""

import time
from dataclasses import dataclass, replace

from gateway.accounting.reservation import Reservation
from gateway.answering.client_disconnects import ClientDisconnects
from gateway.answering.transport_failure import transport_failure
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.sse import MAX_EVENT_BYTES
from gateway.dialects.translator import Answer, MalformedAnswer, StreamTranslator
from gateway.failure import Fault, UpstreamFailure
from gateway.inbound.exchange import Exchange
from gateway.outbound.errors import MalformedResponse, TransportError
from gateway.outbound.exchange import UpstreamExchange
from gateway.upstreams.upstream import AttemptOutcome, Permit, Upstream

__all__ = ["AttemptFailed", "OpenAnswer", "read_opening"]

ERROR_BODY_BYTES = 65_536
"""Of a refusal. What is longer keeps its status and loses its words."""
MAX_START_BYTES = 65_536
"""For the client, before the first content: roles and the like. More of them is no answer."""
MAX_SILENT_BYTES = 2 * MAX_EVENT_BYTES
"""From the upstream, before the first content: thoughts that are not shown; blank lines and comments without end."""


@dataclass(slots=True)
class OpenAnswer:
    """An upstream's answer whose first content has been seen. Either `answer` is whole, or `stream` goes on."""

    upstream: Upstream
    permit: Permit
    exchange: UpstreamExchange
    disconnects: ClientDisconnects
    answer: Answer | None = None
    stream: StreamTranslator | None = None
    first: bytes = b""
    """What the stream has produced for the client so far."""
    outcome: AttemptOutcome = AttemptOutcome.ABANDONED
    failure: UpstreamFailure | None = None
    """What the upstream did with a stream after its first content, told by the relay."""

    def close(self, client: Exchange) -> None:
        """A stream occupies its upstream, and can still fail, until its end."""
        self.disconnects.ended(client, self.exchange)
        self.exchange.close()
        if self.stream is not None:
            self.upstream.ended(self.permit, self.outcome, self.failure)

    @property
    def upstream_request_id(self) -> str:
        value = self.exchange.header(b"x-request-id") or self.exchange.header(b"request-id") or b""
        return value.decode("latin-1")[:200]


class AttemptFailed(Exception):
    """The upstream did not answer; `failure` says how."""

    def __init__(self, failure: UpstreamFailure) -> None:
        self.failure = failure


async def read_opening(
    opened: OpenAnswer, chat: GenerationRequest, reservation: Reservation, *, max_answer_bytes: int
) -> None:
    """Fill `opened` up to the first content of a stream, or to the end of a whole answer. Raises AttemptFailed, and
    ClientGone when the client's leaving has stopped the exchange.
    """
    upstream, exchange = opened.upstream, opened.exchange
    translator, created = upstream.translators[chat.api], int(time.time())
    try:
        if await exchange.head() != 200:
            body = upstream.without_its_keys(await exchange.read_some(ERROR_BODY_BYTES))
            raise AttemptFailed(translator.failure(exchange.status, exchange.header, body, now=time.time()))
        if chat.stream:
            opened.stream = reservation.progress = translator.stream(chat, created=created)
            opened.first = await _read_start(exchange, opened.stream)
        else:
            body = await exchange.read(max_answer_bytes)
            opened.answer = translator.answer(chat, body, created=created)
    except MalformedAnswer as error:
        raise AttemptFailed(_unreadable(error.failure)) from None
    except TransportError as error:
        raise AttemptFailed(transport_failure(error)) from error


async def _read_start(exchange: UpstreamExchange, stream: StreamTranslator) -> bytes:
    if exchange.coding:
        raise MalformedResponse("the stream is compressed, though no compression was asked for")
    pieces: list[bytes] = []
    taken, made, chunk = 0, 0, b"."
    while chunk and not (stream.committed or stream.finished or stream.failure):
        if taken > MAX_SILENT_BYTES or made > MAX_START_BYTES:
            raise MalformedResponse(f"{taken} bytes without any content")
        chunk = await exchange.next_chunk()
        piece = stream.feed(chunk) if chunk else stream.end()
        if piece:
            pieces.append(piece)
        taken += len(chunk)
        made += len(piece)
    if stream.failure is not None and not stream.committed:
        raise AttemptFailed(stream.failure)
    return b"".join(pieces)


def _unreadable(failure: UpstreamFailure) -> UpstreamFailure:
    """An error that came under status 200 is judged like any other; the rest was a whole answer."""
    return replace(failure, fault=Fault.GARBAGE) if failure.status == 200 else failure
