"""A broken connection to an upstream as the retry policy and the client see it."""

from gateway.failure import Fault, UpstreamFailure
from gateway.outbound.errors import (
    AnswerTooLarge,
    ConnectionLost,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    TotalTimeout,
    TransportError,
)

__all__ = ["transport_failure"]

TIMEOUTS = (FirstByteTimeout, IdleTimeout, TotalTimeout)
TOLD = (ConnectionLost, MalformedResponse)
"""Their reason may be shown: it names no address."""


def transport_failure(error: TransportError) -> UpstreamFailure:
    fault, message = Fault.UPSTREAM, "The provider can't be reached."
    if isinstance(error, TIMEOUTS):
        fault, message = Fault.TIMEOUT, "The provider did not answer in time."
    elif isinstance(error, AnswerTooLarge):
        fault, message = Fault.TOO_LARGE, "The provider's answer is too large."
    elif isinstance(error, TOLD):
        message = f"The provider's answer broke off: {error}."
    elif error.dispatched:
        message = "The provider's answer broke off."
    return UpstreamFailure(fault, 0, message, dispatched=error.dispatched, detail=f"{type(error).__name__}: {error}")
