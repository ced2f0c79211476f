"""What a client is told when a provider refuses its request (S14)."""

import pytest

from gateway.answering.verdict import verdict
from gateway.errors import UpstreamRefused
from gateway.failure import Fault, UpstreamFailure


@pytest.mark.parametrize(
    ("sent", "told"),
    [(400, 400), (404, 404), (413, 413), (422, 422), (401, 400), (402, 400), (407, 400)]
    + [(status, 400) for status in (201, 206, 301, 304, 500, 503, 599)],
)
def test_a_refusal_has_a_status_that_refuses(sent: int, told: int) -> None:
    """A 201 or 301 would be no error to a client, a 401 one of its key, and a 500 one to ask again for."""
    error = verdict(UpstreamFailure(Fault.REQUEST, sent, "Too long.", code="context_length_exceeded"))

    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.code) == (told, "context_length_exceeded")
