"""A failed attempt in the words of the client's error. What concerns our own account at a provider is not repeated."""

from collections.abc import Callable

from gateway.errors import (
    GatewayError,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.failure import Fault, UpstreamFailure

__all__ = ["client_error"]

OVERLOADED = (503, 529)
ABOUT_OUR_KEY = (401, 402, 407)
"""A client that is passed these looks for the mistake in its own key."""


def client_error(failure: UpstreamFailure) -> GatewayError:
    return ERRORS[failure.fault](failure)


def _refused(failure: UpstreamFailure) -> GatewayError:
    passable = 400 <= failure.status < 500 and failure.status not in ABOUT_OUR_KEY
    status = failure.status if passable else 400  # Its words tell whose fault it is; some come under 500, or 201.
    return UpstreamRefused(
        status, failure.message, type=failure.type, code=failure.code, param=failure.param, others=failure.others
    )


def _unclear(failure: UpstreamFailure) -> GatewayError:
    error = UpstreamFailed(failure.message)
    error.should_retry = False  # Asked the same, it would say the same.
    return error


def _limited(failure: UpstreamFailure) -> GatewayError:
    return UpstreamRateLimited(
        "The provider of this model is at its rate limit.", retry_after=failure.retry_after or 1.0
    )


def _broken(failure: UpstreamFailure) -> GatewayError:
    if failure.status in OVERLOADED:
        return UpstreamOverloaded("The provider of this model is overloaded.", retry_after=failure.retry_after or 1.0)
    return UpstreamFailed(failure.message or "The provider failed.", retry_after=1.0)


ERRORS: dict[Fault, Callable[[UpstreamFailure], GatewayError]] = {
    Fault.REQUEST: _refused,
    Fault.ACCOUNT: lambda failure: UpstreamFailed(
        "The provider of this model can't be used right now.", retry_after=5.0
    ),
    Fault.UNCLEAR: _unclear,
    Fault.RATE: _limited,
    Fault.UPSTREAM: _broken,
    Fault.TIMEOUT: lambda failure: UpstreamTimeout(failure.message),
    Fault.GARBAGE: _broken,
    Fault.TOO_LARGE: _unclear,
}
