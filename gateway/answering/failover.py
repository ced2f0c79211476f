"""
Get an answer from one of a model's targets. Nothing of an answer has reached the client yet, so a failed attempt may be
repeated or go to the next target; from the first content byte on that is over, and `relay` takes what there is.
"""

import asyncio
import random
import time
from collections.abc import Sequence

from core.models.models_file import Target
from core.process.failpoints import Failpoints
from core.usage.usage_event import Outcome
from gateway.accounting.reservation import Reservation
from gateway.answering.client_disconnects import ClientDisconnects
from gateway.answering.opening import AttemptFailed, OpenAnswer, read_opening
from gateway.answering.target_search import Attempt, TargetSearch
from gateway.dialects.delivered import BYTES_PER_TOKEN
from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import ClientGone, Unavailable
from gateway.failure import Fault, UpstreamFailure
from gateway.inbound.exchange import Exchange
from gateway.outbound.client import Transport
from gateway.outbound.exchange import UpstreamExchange
from gateway.records.request_record import RequestRecord
from gateway.spool.spool import SpoolFailed
from gateway.upstreams.retry_policy import Decision, GiveUp, RetryPolicy, RetrySameUpstream
from gateway.upstreams.routing import order_of_targets
from gateway.upstreams.upstream import AttemptOutcome, Upstream

__all__ = ["Failover"]

CLOCK_SLACK_SECONDS = 0.002
"""The loop's clock counts milliseconds: woken that much early, a pause would not be over."""
ANSWER_TOO_LARGE = "answer_too_large"


class Failover:
    """One for the process; what belongs to one request is in `_Search`."""

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
        self,
        client: Exchange,
        record: RequestRecord,
        chat: GenerationRequest,
        upstreams: Sequence[Upstream],
        reservation: Reservation,
    ) -> OpenAnswer:
        """Raises ClientGone, or the GatewayError that tells the client why no target answered."""
        search = _Search(client, record, chat, reservation, order_of_targets(upstreams, random.random))
        while (attempt := search.targets.next()) is not None:
            answer = await self._ask(attempt, search)
            if answer is not None:
                return answer
        raise search.targets.error()

    async def _ask(self, attempt: Attempt | None, search: "_Search") -> OpenAnswer | None:
        """As many attempts at one upstream as the policy allows; None to go on with the next one."""
        number = 0
        while attempt is not None:
            number += 1
            try:
                return await self._try(attempt, search)
            except AttemptFailed as error:
                failure = error.failure
            search.targets.note(attempt.upstream, failure)
            decision = self._decide(failure, number, search)
            if isinstance(decision, GiveUp):
                if failure.fault is Fault.TOO_LARGE:
                    await self._settle_unread(search.reservation)
                raise search.targets.error()
            if not isinstance(decision, RetrySameUpstream):
                return None
            await search.pause(decision.delay)
            attempt = search.targets.take(attempt.upstream)
        return None

    def _decide(self, failure: UpstreamFailure, number: int, search: "_Search") -> Decision:
        return self._policy.decide(
            failure,
            attempt=number,
            attempts=search.reservation.attempt,
            elapsed=time.monotonic() - search.started,
            jitter=random.random(),  # noqa: S311  # Spreads retries; no secret.
            last=not search.targets.another_available(),
        )

    async def _try(self, attempt: Attempt, search: "_Search") -> OpenAnswer:
        """One request. Raises AttemptFailed, ClientGone."""
        client, reservation, upstream = search.client, search.reservation, attempt.upstream
        stream = search.chat.stream
        exchange: UpstreamExchange | None = None
        outcome, failure = AttemptOutcome.ABANDONED, None
        sent_at = time.monotonic()
        try:
            await _dispatch(reservation, upstream.target)
            if client.client_gone:
                raise ClientGone  # During admission: nothing of it is sent.
            exchange = upstream.send(
                self._transport,
                search.chat.api,
                attempt.body,
                reservation.event_id,
                client.headers,
                stream=stream,
            )
            self._failpoints.reach("after_dispatch")
            self._disconnects.watch(client, exchange)
            opened = OpenAnswer(upstream, attempt.permit, exchange, self._disconnects)
            await read_opening(opened, search.chat, reservation, max_answer_bytes=self._max_answer_bytes)
            outcome = AttemptOutcome.OK
            return opened
        except AttemptFailed as error:
            failure, reservation.progress = error.failure, None
            outcome = AttemptOutcome.REFUSED if failure.fault is Fault.REQUEST else AttemptOutcome.FAILED
            raise
        finally:
            search.record.upstream_seconds += time.monotonic() - sent_at
            dispatched = exchange is not None and exchange.dispatched
            reservation.sent = dispatched and failure is None  # What has failed costs nothing.
            if exchange is not None and outcome is not AttemptOutcome.OK:
                self._disconnects.ended(client, exchange)
                exchange.close()
            if outcome is AttemptOutcome.OK and stream:
                upstream.answering(attempt.permit)  # Its end is told by `OpenAnswer.close`.
            else:
                upstream.ended(attempt.permit, outcome, failure, dispatched=dispatched)

    async def _settle_unread(self, reservation: Reservation) -> None:
        """The provider bills what it has generated, and how much that was is never read: an estimate, marked."""
        charge = reservation.charge(None, ANSWER_TOO_LARGE, self._max_answer_bytes // BYTES_PER_TOKEN)
        await reservation.settle(charge, Outcome.UPSTREAM_FAILED, status=502)


class _Search:
    """What stays the same over all attempts of one request."""

    __slots__ = ("chat", "client", "record", "reservation", "started", "targets")

    def __init__(
        self,
        client: Exchange,
        record: RequestRecord,
        chat: GenerationRequest,
        reservation: Reservation,
        upstreams: list[Upstream],
    ) -> None:
        self.client = client
        self.record = record
        self.chat = chat
        self.reservation = reservation
        self.targets = TargetSearch(chat, reservation, upstreams)
        self.started = time.monotonic()

    async def pause(self, seconds: float) -> None:
        """Between two attempts at one upstream. Raises ClientGone."""
        await asyncio.sleep(seconds + CLOCK_SLACK_SECONDS)
        self.record.upstream_seconds += seconds
        if self.client.client_gone:
            raise ClientGone


async def _dispatch(reservation: Reservation, target: Target) -> None:
    """Raises Unavailable when what the request will owe can't be recorded anywhere."""
    try:
        await reservation.dispatch(target)
    except SpoolFailed as error:
        raise Unavailable("Usage can't be recorded right now. Please try again.", retry_after=2.0) from error
