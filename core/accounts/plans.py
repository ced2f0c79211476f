"""What the operator sells (docs/plans.md). A plan gives the limits that an account starts with."""

from dataclasses import dataclass

from core.usage.money import NANO_PER_USD

__all__ = ["PLANS", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    price: int
    """Nano-dollars per month; also the spending cap an account starts with, until its owner changes it."""
    included_tokens: int
    """Per billing period, input and output in one pool."""
    overage_input: int
    """Nano-dollars per 1M input tokens beyond the pool."""
    overage_output: int
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_requests: int


PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="basic",
            price=50 * NANO_PER_USD,
            included_tokens=5_000_000,
            overage_input=3 * NANO_PER_USD,
            overage_output=15 * NANO_PER_USD,
            requests_per_minute=600,
            tokens_per_minute=1_000_000,
            concurrent_requests=100,
        ),
        Plan(
            name="pro",
            price=250 * NANO_PER_USD,
            included_tokens=30_000_000,
            overage_input=5 * NANO_PER_USD // 2,
            overage_output=12 * NANO_PER_USD,
            requests_per_minute=6_000,
            tokens_per_minute=10_000_000,
            concurrent_requests=1_000,
        ),
    )
}
