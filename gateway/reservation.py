"""What an admitted request holds. It ends exactly once: with usage (`settle`) or without (`release`)."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import TracebackType
from uuid import UUID

from core.models_file import Model, Target
from core.principal import Principal
from core.redis_keys import ReservationKeys
from core.token_usage import TokenUsage
from core.usage_event import Outcome, UsageEvent
from gateway.exchange import ClientGone
from gateway.limit_headers import Limits
from gateway.settlement import Settlement
from gateway.translators.translator import StreamTranslator

__all__ = ["AlreadyEnded", "Ending", "Reservation"]

HUNG_UP = (ClientGone, asyncio.CancelledError)
GATEWAY_LOST = "gateway_lost"
"""Reason of the estimate that the sweeper records when nobody settles a dispatched reservation."""


class AlreadyEnded(Exception):
    """A second ending of one reservation: a bug of ours, stopped before it could bill twice."""


@dataclass(slots=True, kw_only=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Ending:
    """How an answer ended and what it used."""

    usage: TokenUsage
    outcome: Outcome
    estimated: str = ""
    """Why the counts are ours; empty when they are the upstream's."""
    status: int = 200
    latency_ms: int = 0
    first_byte_ms: int = 0
    upstream_request_id: str = ""


class Reservation:
    """Made by `admission`. `relay` settles it; whatever fails before is dealt with by `ended_on_error`."""

    def __init__(
        self,
        settlement: Settlement,
        *,
        event_id: UUID,
        occurred_at: datetime,
        period: date,
        principal: Principal,
        model: Model,
        stream: bool,
        keys: ReservationKeys,
        cost: int,
        likely_input: int,
        max_input: int,
        granted_output: int,
        choices: int,
        limits: Limits | None,
    ) -> None:
        self.event_id = event_id
        self.principal = principal
        self.model = model
        self.granted_output = granted_output
        """Output tokens per choice that the caps leave room for."""
        self.choices = choices
        self.reserved_cost = cost
        self.likely_input = likely_input
        self.max_input = max_input
        """More input than this can't be this request's, whatever an upstream reports."""
        self.limits = limits
        """What the account has left; None when Redis was away and the request was admitted on trust."""
        self.attempt = 0
        self.target: Target | None = None
        self.progress: StreamTranslator | None = None
        """The streamed answer that is under way."""
        self.settled: UsageEvent | None = None
        self._settlement = settlement
        self._occurred_at = occurred_at
        self._period = period
        self._stream = stream
        self._ended = False
        self.keys = keys

    @property
    def ended(self) -> bool:
        return self._ended

    async def dispatch(self, target: Target) -> None:
        """A request is about to be sent. From now on the end is an event, even if this process dies.

        Raises SpoolFailed when what it will owe can be put down nowhere: then it must not be sent.
        """
        self.attempt += 1
        self.target = target
        if self.attempt == 1:
            await self._settlement.dispatch(self.keys, self.estimate())

    def renew(self) -> None:
        """Prolong the lease; the estimate grows with what has been delivered."""
        if self.attempt and not self._ended:
            self._settlement.renew(self.keys, self.estimate())

    def put_down(self) -> None:
        """Redis has gone: what this request owes goes to the disk, without waiting for it."""
        if self.attempt and not self._ended:
            self._settlement.intend(self.keys, self.estimate())

    def settle(self, ending: Ending) -> Awaitable[None]:
        """End with usage. The ending is on its way when this returns; await the result all the same.

        Raises AlreadyEnded. Never fails because of the balance or because Redis is away.
        """
        self._end()
        self.settled = self._event(ending)
        return self._settlement.settle(self.keys, self.settled, self.principal, self._offline_cost)

    def release(self) -> Awaitable[None]:
        """End without usage: nothing was sent, or the upstream failed and reported nothing."""
        self._end()
        return self._settlement.release(self.keys, self.principal, self._offline_cost)

    def ended_on_error(self) -> "_EndedOnError":
        """`async with`: an error inside releases; a client that hangs up after the dispatch pays for its input."""
        return _EndedOnError(self)

    def estimate(self) -> UsageEvent:
        """What the sweeper records if this process dies: the input and what has been delivered, as far as we know."""
        usage = TokenUsage(input=self.likely_input)
        if self.progress is not None:
            usage = replace(self.progress.usage or usage, output=self.progress.delivered_output)
        return self._event(Ending(usage=usage, outcome=Outcome.CUT, estimated=GATEWAY_LOST))

    @property
    def _offline_cost(self) -> int | None:
        return self.reserved_cost if self.limits is None else None

    def _end(self) -> None:
        if self._ended:
            raise AlreadyEnded(str(self.event_id))
        self._ended = True  # Before the await: no second ending while the first is on its way.

    def _event(self, ending: Ending) -> UsageEvent:
        target = self.target
        return UsageEvent(
            event_id=self.event_id,
            occurred_at=self._occurred_at,
            period=self._period,
            account_id=self.principal.account_id,
            key_id=self.principal.key_id,
            model=self.model.name,
            provider=target.provider.name if target else "",
            target=target.name if target else "",
            upstream_request_id=ending.upstream_request_id,
            usage=ending.usage,
            weights=self.model.weights,
            price_version=self.model.price_version,
            cost=self.model.price.cost(ending.usage),
            status=ending.status,
            outcome=ending.outcome,
            estimated=ending.estimated,
            attempt=self.attempt,
            stream=self._stream,
            latency_ms=ending.latency_ms,
            first_byte_ms=ending.first_byte_ms,
        )


class _EndedOnError:
    __slots__ = ("_reservation",)

    def __init__(self, reservation: Reservation) -> None:
        self._reservation = reservation

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        reservation = self._reservation
        if error is None or reservation.ended:
            return
        if isinstance(error, HUNG_UP) and reservation.attempt:
            usage = TokenUsage(input=reservation.likely_input)
            await reservation.settle(
                Ending(usage=usage, outcome=Outcome.CLIENT_GONE, estimated="client_gone", status=499)
            )
        else:
            await reservation.release()
