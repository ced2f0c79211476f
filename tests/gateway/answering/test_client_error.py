"""What a client is told when a provider refuses its request (S14)."""

import pytest

from gateway.answering.client_error import client_error
from gateway.errors import (
    GatewayError,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.failure import Fault, UpstreamFailure


@pytest.mark.parametrize(
    ("sent", "told"),
    [(400, 400), (404, 404), (413, 413), (422, 422), (401, 400), (402, 400), (407, 400)]
    + [(status, 400) for status in (201, 206, 301, 304, 500, 503, 599)],
)
def test_a_refusal_has_a_status_that_refuses(sent: int, told: int) -> None:
    """A 201 or 301 would be no error to a client, a 401 one of its key, and a 500 one to ask again for."""
    error = client_error(UpstreamFailure(Fault.REQUEST, sent, "Too long.", code="context_length_exceeded"))

    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.code) == (told, "context_length_exceeded")


@pytest.mark.parametrize(
    ("failure", "kind", "status", "retry_after"),
    [
        (UpstreamFailure(Fault.ACCOUNT, 401, "Incorrect API key."), UpstreamFailed, 502, 5.0),
        (UpstreamFailure(Fault.RATE, 429, "Slow down.", retry_after=7.0), UpstreamRateLimited, 429, 7.0),
        (UpstreamFailure(Fault.RATE, 429, "Slow down."), UpstreamRateLimited, 429, 1.0),
        (UpstreamFailure(Fault.UPSTREAM, 529, "Overloaded."), UpstreamOverloaded, 503, 1.0),
        (UpstreamFailure(Fault.UPSTREAM, 500, "Broken."), UpstreamFailed, 502, 1.0),
        (UpstreamFailure(Fault.TIMEOUT, 0, "Too slow."), UpstreamTimeout, 504, None),
        (UpstreamFailure(Fault.GARBAGE, 200, "No JSON."), UpstreamFailed, 502, 1.0),
        (UpstreamFailure(Fault.TOO_LARGE, 200, "Too large."), UpstreamFailed, 502, None),
        (UpstreamFailure(Fault.UNCLEAR, 400, "Something."), UpstreamFailed, 502, None),
    ],
)
def test_every_other_fault_has_its_error(
    failure: UpstreamFailure, kind: type[GatewayError], status: int, retry_after: float | None
) -> None:
    error = client_error(failure)

    assert type(error) is kind
    assert (error.status, error.retry_after) == (status, retry_after)


def test_what_concerns_our_own_account_is_not_told() -> None:
    error = client_error(UpstreamFailure(Fault.ACCOUNT, 402, "Your card ending in 4242 was declined."))

    assert "4242" not in error.message


@pytest.mark.parametrize("fault", [Fault.UNCLEAR, Fault.TOO_LARGE])
def test_what_would_be_answered_the_same_is_not_to_be_retried(fault: Fault) -> None:
    assert client_error(UpstreamFailure(fault, 400, "Something.")).should_retry is False
