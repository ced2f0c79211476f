"""A usage event on its way: what is fixed at admission, and what its ending adds. Pure."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from core.models.models_file import Model, Target
from core.principal import Principal
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import GATEWAY_LOST, Outcome, UsageEvent

__all__ = ["Ending", "EventDraft"]

UNPRICED_TIER = "service_tier_unpriced"
"""The upstream served a tier whose price nobody knows: the usual one was charged."""


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
    service_tier: str = ""
    """As the upstream served it; empty when it did not say."""


@dataclass(slots=True, kw_only=True)  # Not frozen: as above.
class EventDraft:
    event_id: UUID
    occurred_at: datetime
    period: date
    principal: Principal
    model: Model
    stream: bool
    service_tier: str = ""
    """As the client asked for it."""

    def estimate(self, usage: TokenUsage, target: Target | None = None, attempt: int = 0) -> UsageEvent:
        """What is recorded if this process dies before it ends the request."""
        return self.event(Ending(usage=usage, outcome=Outcome.CUT, estimated=GATEWAY_LOST), target, attempt)

    def void(self, status: int, target: Target | None = None, attempt: int = 0) -> UsageEvent:
        """What takes the place of an estimate when nothing was used. `status` is what the client is answered."""
        return self.event(Ending(usage=TokenUsage(), outcome=Outcome.RELEASED, status=status), target, attempt)

    def event(self, ending: Ending, target: Target | None, attempt: int) -> UsageEvent:
        """`attempt` is the one that answered; 0 and no target when no upstream was asked yet."""
        model = self.model
        return UsageEvent(
            event_id=self.event_id,
            occurred_at=self.occurred_at,
            period=self.period,
            account_id=self.principal.account_id,
            key_id=self.principal.key_id,
            model=model.name,
            provider=target.provider.name if target else "",
            target=target.name if target else "",
            upstream_request_id=ending.upstream_request_id,
            usage=ending.usage,
            weights=model.weights,
            price_version=model.price_version,
            cost=model.prices.cost(ending.usage, ending.service_tier, self.service_tier),
            status=ending.status,
            outcome=ending.outcome,
            estimated=ending.estimated or self._unpriced(ending.service_tier),
            attempt=attempt,
            stream=self.stream,
            latency_ms=ending.latency_ms,
            first_byte_ms=ending.first_byte_ms,
        )

    def _unpriced(self, served_tier: str) -> str:
        return UNPRICED_TIER if served_tier and not self.model.prices.knows(served_tier) else ""
