"""
Get an answer from one of a model's targets. Nothing of an answer has reached the client yet, so a failed attempt may be
repeated or go to the next target; from the first content byte on that is over, and `relay` takes what there is.
"""

import asyncio
import random
import time
from dataclasses import dataclass, replace

from core.models.models_file import Target
from core.principal import AccountId
from core.process.failpoints import Failpoints
from core.usage.usage_event import Outcome
from gateway.accounting.reservation import Reservation
from gateway.answering.client_disconnects import ClientDisconnects
from gateway.answering.target_search import Chance, TargetSearch
from gateway.answering.verdict import transport_failure
from gateway.dialects.chat_request import ChatRequest
from gateway.dialects.delivered import BYTES_PER_TOKEN
from gateway.dialects.sse import MAX_EVENT_BYTES
from gateway.dialects.translator import Answer, MalformedAnswer, StreamTranslator
from gateway.errors import Unavailable
from gateway.failure import Fault, UpstreamFailure
from gateway.inbound.exchange import ClientGone, Exchange
from gateway.outbound.client import Transport
from gateway.outbound.errors import MalformedResponse, TransportError
from gateway.outbound.exchange import Exchange as UpstreamExchange
from gateway.spool.spool import SpoolFailed
from gateway.upstreams.catalog import RoutedModel
from gateway.upstreams.retry_policy import GiveUp, RetryPolicy, RetrySameUpstream
from gateway.upstreams.routing import order_of_targets
from gateway.upstreams.upstream import AttemptOutcome, Permit, Upstream

__all__ = ["Failover", "OpenAnswer"]

ERROR_BODY_BYTES = 65_536
"""Of a refusal. What is longer keeps its status and loses its words."""
MAX_START_BYTES = 65_536
"""For the client, before the first content: roles and the like. More of them is no answer."""
MAX_SILENT_BYTES = 2 * MAX_EVENT_BYTES
"""From the upstream, before the first content: thoughts that are not shown; blank lines and comments without end."""
CLOCK_SLACK_SECONDS = 0.002
"""The loop's clock counts milliseconds: woken that much early, a pause would not be over."""
ANSWER_TOO_LARGE = "answer_too_large"


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
    verdict: AttemptOutcome = AttemptOutcome.ABANDONED
    failure: UpstreamFailure | None = None
    """What the upstream did with a stream after its first content, told by the relay."""

    def close(self, client: Exchange) -> None:
        """A stream occupies its upstream, and can still fail, until its end."""
        self.disconnects.ended(client, self.exchange)
        self.exchange.close()
        if self.stream is not None:
            self.upstream.ended(self.permit, self.verdict, self.failure)

    @property
    def upstream_request_id(self) -> str:
        value = self.exchange.header(b"x-request-id") or self.exchange.header(b"request-id") or b""
        return value.decode("latin-1")[:200]


class _AttemptFailed(Exception):
    def __init__(self, failure: UpstreamFailure) -> None:
        self.failure = failure


class Failover:
    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy,
        disconnects: ClientDisconnects,
        failpoints: Failpoints,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._disconnects = disconnects
        self._failpoints = failpoints
        self._max_answer_bytes = max_answer_bytes

    async def open(
        self, client: Exchange, chat: ChatRequest, routed: RoutedModel, reservation: Reservation, *, account: AccountId
    ) -> OpenAnswer:
        """Raises ClientGone, or the GatewayError that tells the client why no target answered."""
        upstreams = order_of_targets(routed.upstreams, random.random)
        search = TargetSearch(chat, routed.model, reservation, upstreams, account=account)
        request = _Request(client, chat, reservation, search)
        while (chance := search.next()) is not None:
            answer = await self._ask(chance, request)
            if answer is not None:
                return answer
        raise search.verdict()

    async def _ask(self, chance: Chance | None, request: "_Request") -> OpenAnswer | None:
        """As many attempts at one upstream as the policy allows; None to go on with the next one."""
        search, attempt = request.search, 0
        while chance is not None:
            attempt += 1
            try:
                return await self._attempt(chance, request)
            except _AttemptFailed as error:
                failure = error.failure
            search.note(chance.upstream, failure)
            decision = self._policy.decide(
                failure,
                attempt=attempt,
                attempts=request.reservation.attempt,
                elapsed=time.monotonic() - request.started,
                jitter=random.random(),  # noqa: S311  # Spreads retries; no secret.
                last=not search.another_available(),
            )
            if isinstance(decision, GiveUp):
                if failure.fault is Fault.TOO_LARGE:
                    await self._settle_unread(request.reservation)
                raise search.verdict()
            if not isinstance(decision, RetrySameUpstream):
                return None
            await request.pause(decision.delay)
            chance = search.take(chance.upstream)
        return None

    async def _attempt(self, chance: Chance, request: "_Request") -> OpenAnswer:
        """One request. Raises _AttemptFailed, ClientGone."""
        client, reservation, upstream = request.client, request.reservation, chance.upstream
        exchange: UpstreamExchange | None = None
        outcome, failure = AttemptOutcome.ABANDONED, None
        sent_at = time.monotonic()
        try:
            await _dispatch(reservation, upstream.target)
            if client.client_gone:
                raise ClientGone  # During admission: nothing of it is sent.
            exchange = upstream.send(
                self._transport, chance.body, reservation.event_id, client.headers, stream=request.chat.stream
            )
            self._failpoints.reach("after_dispatch")
            self._disconnects.watch(client, exchange)
            answer = await self._read(chance, exchange, request)
            outcome = AttemptOutcome.OK
            return answer
        except _AttemptFailed as error:
            failure, reservation.progress = error.failure, None
            outcome = AttemptOutcome.REFUSED if failure.fault is Fault.REQUEST else AttemptOutcome.FAILED
            raise
        finally:
            client.upstream_seconds += time.monotonic() - sent_at
            reservation.sent = exchange is not None and exchange.dispatched
            if exchange is not None and outcome is not AttemptOutcome.OK:
                self._disconnects.ended(client, exchange)
                exchange.close()
            if outcome is AttemptOutcome.OK and request.chat.stream:
                upstream.answering(chance.permit)  # Its end is told by `OpenAnswer.close`.
            else:
                upstream.ended(chance.permit, outcome, failure, dispatched=reservation.sent)

    async def _read(self, chance: Chance, exchange: UpstreamExchange, request: "_Request") -> OpenAnswer:
        """Up to the first content of a stream, or to the end of a whole answer."""
        created = int(time.time())
        translator, chat = chance.upstream.translator, request.chat
        opened = OpenAnswer(chance.upstream, chance.permit, exchange, self._disconnects)
        try:
            if await exchange.head() != 200:
                body = chance.upstream.without_its_keys(await exchange.read_some(ERROR_BODY_BYTES))
                raise _AttemptFailed(translator.failure(exchange.status, exchange.header, body, now=time.time()))
            if chat.stream:
                opened.stream = request.reservation.progress = translator.stream(chat, created=created)
                opened.first = await _read_start(exchange, opened.stream)
            else:
                body = await exchange.read(self._max_answer_bytes)
                opened.answer = translator.answer(chat, body, created=created)
            return opened
        except MalformedAnswer as error:
            raise _AttemptFailed(_unreadable(error.failure)) from None
        except TransportError as error:
            raise _AttemptFailed(transport_failure(error)) from error

    async def _settle_unread(self, reservation: Reservation) -> None:
        """The provider bills what it has generated, and how much that was is never read: an estimate, marked."""
        charge = reservation.charge(None, ANSWER_TOO_LARGE, self._max_answer_bytes // BYTES_PER_TOKEN)
        await reservation.settle(charge, Outcome.UPSTREAM_FAILED, status=502)


class _Request:
    """What stays the same over all attempts."""

    __slots__ = ("chat", "client", "reservation", "search", "started")

    def __init__(self, client: Exchange, chat: ChatRequest, reservation: Reservation, search: TargetSearch) -> None:
        self.client = client
        self.chat = chat
        self.reservation = reservation
        self.search = search
        self.started = time.monotonic()

    async def pause(self, seconds: float) -> None:
        """Between two attempts at one upstream. Raises ClientGone."""
        await asyncio.sleep(seconds + CLOCK_SLACK_SECONDS)
        self.client.upstream_seconds += seconds
        if self.client.client_gone:
            await self.reservation.release(
                ClientGone.status
            )  # What has failed costs nothing, and nothing else has been asked.
            raise ClientGone  # Nobody waits for another attempt.


async def _dispatch(reservation: Reservation, target: Target) -> None:
    """Raises Unavailable when what the request will owe can't be recorded anywhere."""
    reservation.sent = False  # What an earlier attempt sent has failed, and costs nothing.
    try:
        await reservation.dispatch(target)
    except SpoolFailed as error:
        raise Unavailable("Usage can't be recorded right now. Please try again.", retry_after=2.0) from error


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
        raise _AttemptFailed(stream.failure)
    return b"".join(pieces)


def _unreadable(failure: UpstreamFailure) -> UpstreamFailure:
    """An error that came under status 200 is judged like any other; the rest was a whole answer."""
    return replace(failure, fault=Fault.GARBAGE) if failure.status == 200 else failure
