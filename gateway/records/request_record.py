"""What is known of one request: filled along its path, read by observers at its end. No prompt, and no answer."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.models.models_file import Model, Target
from core.principal import Principal
from core.usage.event_id import EventId
from core.usage.usage_event import UsageEvent

__all__ = ["Observer", "RequestOutcome", "RequestRecord"]


class RequestOutcome(StrEnum):
    """How the client's request ended."""

    OK = "ok"
    ERROR = "error"
    """The client was told an error."""
    CLIENT_GONE = "client_gone"
    CUT = "cut"
    """This process had to stop."""


@dataclass(slots=True)
class RequestRecord:
    """Times of `time.monotonic`, in seconds, unless the name says otherwise."""

    method: str
    path: str
    request_id: EventId
    """Also the id of the reservation and of the usage event."""
    received_at: float
    received_ms: int
    """Since 1970; the time of the usage event."""
    principal: Principal | None = None
    model: Model | None = None
    target: Target | None = None
    """The last one that was asked."""
    attempts: int = 0
    event: UsageEvent | None = None
    """What was settled."""
    status: int = 0
    """Told to the client, or, behind a head that had gone out early, what it would have been told. 499: nothing."""
    code: str = ""
    """Of the error, as the client was told."""
    refusal: str = ""
    """A bounded name for it: a provider may call its errors whatever it likes. Empty: nothing was refused."""
    admitted: bool = False
    outcome: RequestOutcome = RequestOutcome.ERROR
    answered: bool = False
    """The answer has begun."""
    first_byte_at: float = 0.0
    """0 before the answer has begun."""
    upstream_seconds: float = 0.0
    """Spent waiting for upstreams before the first byte of the answer."""

    @property
    def first_byte_seconds(self) -> float:
        """From the request's head to the answer's first byte; 0 before it."""
        return self.first_byte_at - self.received_at if self.first_byte_at else 0.0


Observer = Callable[[RequestRecord], None]
"""Called once for each request, when it has ended."""
