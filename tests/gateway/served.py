"""What the simulated providers say they served, next to what was booked for it."""

from typing import Any

from core.usage.token_usage import TokenUsage
from tests.harness.installation import Booked, Customer, Installation
from tests.harness.simulated_upstream import SimulatedUpstream


def usage_of(record: dict[str, Any]) -> TokenUsage:
    """The tokens of a simulator's record, in our classes."""
    return TokenUsage(
        input=record["input_tokens"],
        cache_read=record["cache_read_tokens"],
        cache_write_5m=record["cache_write_5m_tokens"],
        cache_write_1h=record["cache_write_1h_tokens"],
        output=record["output_tokens"],
        reasoning=record["reasoning_tokens"],
    )


def record_of(upstream: SimulatedUpstream, booked: Booked) -> dict[str, Any]:
    """The one call that was served for an event."""
    [record] = upstream.wait_served(1, client_request_id=str(booked.event.event_id))
    return record


def booked_once(shared: Installation, upstream: SimulatedUpstream, customer: Customer, count: int = 1) -> list[Booked]:
    """The customer's events: as many as expected, each with the very tokens that were served for it."""
    events = shared.wait_events(customer, count)
    for booked in events:
        assert booked.event.usage == usage_of(record_of(upstream, booked))
        assert (booked.charged, booked.waived) == (booked.event.cost, 0)
    return events
