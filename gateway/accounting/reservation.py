"""What one request holds, from its admission on. It ends exactly once: with usage (`settle`) or without (`release`)."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from core.models.models_file import Model, Target
from core.principal import Principal
from core.redis.keys import ReservationKeys
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import GATEWAY_LOST, Outcome, UsageEvent
from gateway.accounting.charge import Charge
from gateway.accounting.rate_limit_headers import Limits
from gateway.accounting.settlement import Settlement
from gateway.dialects.translator import StreamTranslator
from gateway.errors import ClientGone, GatewayError

__all__ = ["AlreadyEnded", "Reservation"]

CLIENT_LEFT = (ClientGone, asyncio.CancelledError)
UNFINISHED = "unfinished"
UNPRICED_TIER = "service_tier_unpriced"
"""The upstream served a tier whose price is unknown: the usual one was charged."""
INTERNAL_ERROR_STATUS = 500
NOTHING = TokenUsage()


class AlreadyEnded(Exception):
    """A second ending of one reservation: a bug of ours, stopped before it could bill twice."""


@dataclass(slots=True, eq=False, kw_only=True)
class Reservation:
    """Made and granted by `admission`. `relay` settles it; whatever fails before that goes through `fail`.

    The event's id and time are those of the request, so that every copy of its event is recognised as one.
    """

    settlement: Settlement
    keys: ReservationKeys
    principal: Principal
    model: Model
    event_id: UUID
    occurred_at: datetime
    period: date
    """That pays. Until the request is granted, the one that the calendar says."""
    stream: bool
    service_tier: str
    """As the client asked for it."""
    likely_input: int
    """Tokens; what the input is charged when the upstream does not report it."""
    max_input: int
    """Tokens; more than the request's bytes can hold, or than the model reads."""
    choices: int
    granted_output: int = 0
    """Output tokens per choice that the caps leave room for."""
    max_output: int = 0
    """Of all choices together."""
    reserved_cost: int = 0
    """Nano-dollars."""
    limits: Limits | None = None
    """What the account has left; None when Redis could not say."""
    connection: int | None = None
    """The number of the connection on which Redis granted it. None: granted on trust, because Redis could not say; what
    it owes goes to the disk first."""
    attempt: int = 0
    target: Target | None = None
    sent: bool = False
    """The request has been handed to a connection, and has not failed: the upstream may be at work on it."""
    progress: StreamTranslator | None = None
    """The streamed answer that is under way."""
    settled: UsageEvent | None = None
    needs_intent: bool = False
    """Redis does not have it any more, or may not."""
    ended: bool = False

    def grant(
        self, output_tokens: int, cost: int, period: date, limits: Limits | None = None, connection: int | None = None
    ) -> None:
        """It may run, with so many output tokens per choice. Without a `connection` to Redis it may on trust."""
        self.granted_output = output_tokens
        self.max_output = output_tokens * self.choices
        self.reserved_cost = cost
        self.period = period
        self.limits = limits
        self.connection = connection

    @property
    def on_trust(self) -> bool:
        return self.connection is None

    @property
    def _in_doubt(self) -> bool:
        """Redis may not have this, or may not have it when it comes back."""
        return self.needs_intent or self.connection != self.settlement.connection_number

    async def dispatch(self, target: Target) -> None:
        """A request is about to be sent. From now on what it owes survives this process: `admit` has left an estimate
        in Redis, and where that is in doubt, an intent is written to the disk.

        Raises SpoolFailed when the disk does not take it: then the request must not be sent.
        """
        self.attempt += 1
        self.target = target
        if self.attempt == 1 and self._in_doubt:
            await self.settlement.write_intent(self.estimate())

    def renew(self) -> None:
        """Prolong the lease; the estimate grows with what has been delivered."""
        if not self.ended:
            self.settlement.renew(self.keys, self.estimate(), self.write_intent)

    def write_intent(self) -> None:
        """Redis is away, or no longer has this: what the request owes goes to the disk, without waiting for it. If
        nothing has been sent yet, `dispatch` writes it, and waits."""
        self.needs_intent = True
        if self.attempt and not self.ended:
            self.settlement.write_intent(self.estimate())

    def charge(self, reported: TokenUsage | None, flaw: str | None, delivered_output: int) -> Charge:
        """See `Charge.of`; bounded by what this request can hold and was granted."""
        return Charge.of(
            reported,
            flaw,
            delivered_output,
            likely_input=self.likely_input,
            max_input=self.max_input,
            max_output=self.max_output,
        )

    def estimate(self) -> UsageEvent:
        """What is recorded if this process dies: the input and what has been delivered, as far as we know. The same
        count that `relay` would settle if the answer broke off here."""
        progress = self.progress
        if progress is None:
            usage = TokenUsage(input=self.likely_input)
        else:
            usage = self.charge(progress.usage, UNFINISHED, progress.delivered_output).usage
        return self._event(usage, Outcome.CUT, GATEWAY_LOST)

    def void(self, status: int) -> UsageEvent:
        """What takes the place of an estimate when nothing was used. `status` is what the client is answered."""
        return self._event(NOTHING, Outcome.RELEASED, status=status)

    def settle(
        self,
        charge: Charge,
        outcome: Outcome,
        *,
        status: int = 200,
        latency_ms: int = 0,
        first_byte_ms: int = 0,
        upstream_request_id: str = "",
        service_tier: str = "",
    ) -> Awaitable[None]:
        """End with usage. The settlement is on its way when this returns; await the result all the same.
        `service_tier` is the one the upstream served, empty when it did not say.

        Raises AlreadyEnded. Never fails because of the balance or because Redis is away.
        """
        self._end()
        unpriced = UNPRICED_TIER if service_tier and not self.model.prices.knows(service_tier) else ""
        self.settled = self._event(
            charge.usage,
            outcome,
            charge.estimated or unpriced,
            status=status,
            latency_ms=latency_ms,
            first_byte_ms=first_byte_ms,
            upstream_request_id=upstream_request_id,
            served_tier=service_tier,
        )
        return self.settlement.settle(self.keys, self.settled, self.principal, self._offline_cost)

    def release(self, status: int) -> Awaitable[None]:
        """End without usage: nothing was sent, or the upstream failed and reported nothing. `status` is what the client
        is answered."""
        self._end()
        return self.settlement.release(
            self.keys, self.void(status), self.principal, self._offline_cost, in_doubt=self._in_doubt
        )

    def give_back(self, status: int) -> None:
        """Redis may have admitted this though its answer never came: it ends without usage, in the background."""
        self._end()
        self.settlement.give_back(self.void(status))

    async def fail(self, error: BaseException) -> None:
        """End what `error` has stopped, unless it has ended already: a client that leaves after the request was sent
        pays for its input; everything else is released."""
        if self.ended:
            return
        if isinstance(error, CLIENT_LEFT) and self.sent:
            charge = Charge(TokenUsage(input=self.likely_input), Outcome.CLIENT_GONE.value)
            await self.settle(charge, Outcome.CLIENT_GONE, status=ClientGone.status)
        else:
            await self.release(_status_of(error))

    def _event(
        self,
        usage: TokenUsage,
        outcome: Outcome,
        estimated: str = "",
        *,
        status: int = 200,
        latency_ms: int = 0,
        first_byte_ms: int = 0,
        upstream_request_id: str = "",
        served_tier: str = "",
    ) -> UsageEvent:
        model, target = self.model, self.target
        return UsageEvent(
            event_id=self.event_id,
            occurred_at=self.occurred_at,
            period=self.period,
            account_id=self.principal.account_id,
            key_id=self.principal.key_id,
            model=model.name,
            provider=target.provider.name if target else "",
            target=target.name if target else "",
            upstream_request_id=upstream_request_id,
            usage=usage,
            weights=model.weights,
            price_version=model.price_version,
            cost=model.prices.cost(usage, served_tier, self.service_tier),
            status=status,
            outcome=outcome,
            estimated=estimated,
            attempt=self.attempt,
            stream=self.stream,
            latency_ms=latency_ms,
            first_byte_ms=first_byte_ms,
        )

    @property
    def _offline_cost(self) -> int | None:
        return self.reserved_cost if self.on_trust else None

    def _end(self) -> None:
        if self.ended:
            raise AlreadyEnded(str(self.event_id))
        self.ended = True  # Before the await: no second ending while the first is on its way.


def _status_of(error: BaseException) -> int:
    if isinstance(error, GatewayError):
        return error.status
    return ClientGone.status if isinstance(error, CLIENT_LEFT) else INTERNAL_ERROR_STATUS
