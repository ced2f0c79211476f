"""
Get an answer from one of a model's targets. Nothing has reached the client yet, so a failed attempt may be repeated or
go to the next target; from the first content byte on that is over, and `relay` takes what there is.
"""

import asyncio
import random
import time
from dataclasses import dataclass

from core.failpoints import Failpoints
from core.models_file import Model, Target
from gateway.catalog import Catalog
from gateway.chat_request import ChatRequest
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    NoTargetAvailable,
    Unavailable,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.exchange import ClientGone, Exchange
from gateway.hang_up import HangUps
from gateway.reservation import Reservation
from gateway.retry_policy import GiveUp, RetryPolicy, RetrySameUpstream
from gateway.routing import order_of_targets
from gateway.spool import SpoolFailed
from gateway.translators.translator import Answer, MalformedAnswer, StreamTranslator
from gateway.transport.client import Transport
from gateway.transport.errors import BodyTooLarge, FirstByteTimeout, IdleTimeout, TotalTimeout, TransportError
from gateway.transport.exchange import Exchange as UpstreamExchange
from gateway.upstream_failure import Fault, UpstreamFailure
from gateway.upstreams import AttemptOutcome, Upstream

__all__ = ["Failover", "OpenAnswer", "transport_failure"]

ERROR_BODY_BYTES = 65_536
OVERLOADED = (503, 529)
TIMEOUTS = (FirstByteTimeout, IdleTimeout, TotalTimeout)


@dataclass(slots=True)
class OpenAnswer:
    """An upstream's answer whose first content has been seen. Either `answer` is whole, or `stream` goes on."""

    upstream: Upstream
    exchange: UpstreamExchange
    answer: Answer | None = None
    stream: StreamTranslator | None = None
    first: bytes = b""
    """What the stream has produced for the client so far."""
    verdict: AttemptOutcome = AttemptOutcome.ABANDONED
    failure: UpstreamFailure | None = None
    """What the upstream did with a stream after its first content, told by the relay."""

    def close(self) -> None:
        """A stream occupies its upstream, and can still fail, until its end."""
        self.exchange.close()
        if self.stream is not None:
            self.upstream.ended(self.verdict, self.failure)

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
        catalog: Catalog,
        transport: Transport,
        policy: RetryPolicy,
        hang_ups: HangUps,
        failpoints: Failpoints,
        *,
        max_answer_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._transport = transport
        self._policy = policy
        self._hang_ups = hang_ups
        self._failpoints = failpoints
        self._max_answer_bytes = max_answer_bytes

    async def open(self, client: Exchange, chat: ChatRequest, model: Model, reservation: Reservation) -> OpenAnswer:
        """Raises ClientGone, or the GatewayError that tells the client why no target answered."""
        targets = order_of_targets(model.targets, random.random)
        search = _Search(client, chat, reservation, [self._catalog.upstream(target) for target in targets])
        while (upstream := search.next_upstream()) is not None:
            answer = await self._ask(upstream, search)
            if answer is not None:
                return answer
        raise search.verdict(model)

    async def _ask(self, upstream: Upstream, search: "_Search") -> OpenAnswer | None:
        """As many attempts at one upstream as the policy allows; None to go on with the next one."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(upstream, search)
            except InvalidRequest as error:
                search.inexpressible = error  # This provider can't be asked such a thing; the next one perhaps can.
                return None
            except _AttemptFailed as error:
                search.failure = error.failure
            decision = self._policy.decide(
                search.failure,
                attempt=attempt,
                attempts=search.reservation.attempt,
                elapsed=time.monotonic() - search.started,
                jitter=random.random(),  # noqa: S311  # Spreads retries; no secret.
                last=not search.another_available,
            )
            if isinstance(decision, GiveUp):
                raise _verdict(search.failure)
            if not isinstance(decision, RetrySameUpstream):
                return None
            await asyncio.sleep(decision.delay)
            search.client.upstream_seconds += decision.delay
            if search.client.client_gone:
                await search.reservation.release(
                    ClientGone.status
                )  # What failed costs nothing; nothing else was asked.
                raise ClientGone  # Nobody waits for another attempt.

    async def _attempt(self, upstream: Upstream, search: "_Search") -> OpenAnswer:
        """One request. Raises _AttemptFailed, InvalidRequest, ClientGone."""
        chat, client, reservation = search.chat, search.client, search.reservation
        body = upstream.translator.request(
            chat,
            upstream_model=upstream.target.model,
            max_output_tokens=reservation.granted_output,
            clamp=chat.max_output_tokens != reservation.granted_output,
        )
        await _dispatch(reservation, upstream.target)
        sent_at = time.monotonic()
        exchange = upstream.send(self._transport, body, reservation.event_id, client.headers, stream=chat.stream)
        self._failpoints.reach("after_dispatch")
        self._hang_ups.watch(client, exchange)
        outcome, failure = AttemptOutcome.ABANDONED, None
        try:
            answer = await self._read(upstream, exchange, chat)
            outcome = AttemptOutcome.OK
            return answer
        except _AttemptFailed as error:
            failure = error.failure
            outcome = AttemptOutcome.REFUSED if failure.fault is Fault.REQUEST else AttemptOutcome.FAILED
            raise
        finally:
            client.upstream_seconds += time.monotonic() - sent_at
            if outcome is not AttemptOutcome.OK:
                client.on_hang_up(None)
                exchange.close()
            if outcome is AttemptOutcome.OK and chat.stream:
                upstream.answering()  # Its end is told by `OpenAnswer.close`.
            else:
                upstream.ended(outcome, failure)

    async def _read(self, upstream: Upstream, exchange: UpstreamExchange, chat: ChatRequest) -> OpenAnswer:
        """Up to the first content of a stream, or to the end of a whole answer."""
        created = int(time.time())
        try:
            if await exchange.head() != 200:
                body = await exchange.read(ERROR_BODY_BYTES)
                raise _AttemptFailed(
                    upstream.translator.failure(exchange.status, exchange.header, body, now=time.time())
                )
            if chat.stream:
                return await _read_start(upstream, exchange, upstream.translator.stream(chat, created=created))
            body = await exchange.read(self._max_answer_bytes)
            answer = upstream.translator.answer(chat, body, created=created)
            return OpenAnswer(upstream, exchange, answer=answer)
        except MalformedAnswer as error:
            raise _AttemptFailed(error.failure) from None
        except TransportError as error:
            raise _AttemptFailed(transport_failure(error)) from error


async def _dispatch(reservation: Reservation, target: Target) -> None:
    """Raises Unavailable when what the request will owe can be put down nowhere."""
    try:
        await reservation.dispatch(target)
    except SpoolFailed as error:
        raise Unavailable("Usage can't be recorded right now. Please try again.", retry_after=2.0) from error


async def _read_start(upstream: Upstream, exchange: UpstreamExchange, stream: StreamTranslator) -> OpenAnswer:
    first = b""
    while not (stream.committed or stream.finished or stream.failure):
        chunk = await exchange.next_chunk()
        first += stream.feed(chunk) if chunk else stream.end()
        if not chunk:
            break
    if stream.failure is not None and not stream.committed:
        raise _AttemptFailed(stream.failure)
    return OpenAnswer(upstream, exchange, stream=stream, first=first)


class _Search:
    """One request's way through the upstreams of its model."""

    def __init__(
        self, client: Exchange, chat: ChatRequest, reservation: Reservation, upstreams: list[Upstream]
    ) -> None:
        self.client = client
        self.chat = chat
        self.reservation = reservation
        self.started = time.monotonic()
        self.failure = NOTHING_TRIED
        self.inexpressible: InvalidRequest | None = None
        self._upstreams = upstreams
        self._waiting = list(upstreams)

    @property
    def another_available(self) -> bool:
        return any(upstream.available for upstream in self._waiting)

    def next_upstream(self) -> Upstream | None:
        while self._waiting:
            upstream = self._waiting.pop(0)
            if upstream.available:
                return upstream
        return None

    def verdict(self, model: Model) -> GatewayError:
        if self.failure is not NOTHING_TRIED:
            return _verdict(self.failure)
        if self.inexpressible is not None:
            return self.inexpressible
        wait = min((upstream.available_in for upstream in self._upstreams), default=0.0)
        return NoTargetAvailable(f"No provider of {model.name!r} is available right now.", retry_after=max(1.0, wait))


NOTHING_TRIED = UpstreamFailure(Fault.UPSTREAM, 0, "")


def transport_failure(error: TransportError) -> UpstreamFailure:
    """A broken connection as the retry policy and the client see it."""
    fault = Fault.TIMEOUT if isinstance(error, TIMEOUTS) else Fault.UPSTREAM
    message = "The provider did not answer in time." if fault is Fault.TIMEOUT else "The provider's answer broke off."
    if isinstance(error, BodyTooLarge):
        message = "The provider's answer is too large."
    return UpstreamFailure(fault, 0, message, dispatched=error.dispatched)


def _verdict(failure: UpstreamFailure) -> GatewayError:
    """The last failure as the client's error. What concerns our own account at a provider is not repeated to it."""
    if failure.fault is Fault.REQUEST:
        return UpstreamRefused(
            failure.status, failure.message, type=failure.type, code=failure.code, param=failure.param
        )
    if failure.fault is Fault.RATE:
        return UpstreamRateLimited(
            "The provider of this model is at its rate limit.", retry_after=failure.retry_after or 1.0
        )
    if failure.fault is Fault.TIMEOUT:
        return UpstreamTimeout(failure.message)
    if failure.fault is Fault.ACCOUNT:
        return UpstreamFailed("The provider of this model can't be used right now.", retry_after=5.0)
    if failure.status in OVERLOADED:
        return UpstreamOverloaded("The provider of this model is overloaded.", retry_after=failure.retry_after or 1.0)
    return UpstreamFailed(failure.message or "The provider failed.", retry_after=1.0)
