"""What went wrong at an upstream, as a value that the retry policy can judge."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Fault", "UpstreamFailure"]


class Fault(Enum):
    """Who has to change something before another try can succeed."""

    REQUEST = "request"
    """The client's request: every upstream would refuse it. Passed on as it is."""
    ACCOUNT = "account"
    """Our account at this provider (bad key, no credit, model not enabled): another target may work, this one won't."""
    UNCLEAR = "unclear"
    """The request or our account: refused without words that tell which. Another target may take it."""
    RATE = "rate"
    """Our account is at the provider's rate limit: the same target works later, another one now."""
    UPSTREAM = "upstream"
    """The provider or the way to it: overloaded, 5xx, broken connection."""
    TIMEOUT = "timeout"
    """The provider did not answer in time."""
    GARBAGE = "garbage"
    """The provider said 200 and sent all of something that can't be read: asked again, it might bill again."""
    TOO_LARGE = "too large"
    """The provider's answer is over our limit. It is billed, and would be as large at any other."""


@dataclass(frozen=True, slots=True)
class UpstreamFailure:
    """`status` is the upstream's HTTP status, or 0 when it sent none. `message` may be shown to a client."""

    fault: Fault
    status: int
    message: str
    type: str = "api_error"
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds the upstream asked to wait."""
    dispatched: bool = True
    """False when the request can't have reached the upstream: it can be repeated without a second bill."""
    detail: str = ""
    """For the log only: it may hold addresses."""
    others: dict[str, Any] = field(default_factory=dict)
    """Further members of the upstream's error object, for the client whose request is at fault."""
