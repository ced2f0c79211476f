"""A broken connection to an upstream, as the retry policy and the client see it."""

import pytest

from gateway.answering.transport_failure import transport_failure
from gateway.failure import Fault
from gateway.outbound.errors import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    ExchangeAborted,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    PoolExhausted,
    TotalTimeout,
    TransportError,
)

ADDRESS = "10.0.0.7:443"


@pytest.mark.parametrize(
    ("error", "fault", "dispatched", "words"),
    [
        (ConnectFailed(ADDRESS), Fault.UPSTREAM, False, "can't be reached"),
        (ConnectTimeout(ADDRESS), Fault.UPSTREAM, False, "can't be reached"),
        (PoolExhausted(ADDRESS), Fault.UPSTREAM, False, "can't be reached"),
        (FirstByteTimeout(ADDRESS), Fault.TIMEOUT, True, "did not answer in time"),
        (IdleTimeout(ADDRESS), Fault.TIMEOUT, True, "did not answer in time"),
        (TotalTimeout(ADDRESS, dispatched=False), Fault.TIMEOUT, False, "did not answer in time"),
        (ConnectionLost("no end of body", bytes_received=True), Fault.UPSTREAM, True, "broke off: no end of body"),
        (MalformedResponse("no HTTP"), Fault.UPSTREAM, True, "broke off: no HTTP"),
        (AnswerTooLarge(ADDRESS), Fault.TOO_LARGE, True, "too large"),
        (ExchangeAborted(ADDRESS, dispatched=True), Fault.UPSTREAM, True, "broke off"),
        (ExchangeAborted(ADDRESS, dispatched=False), Fault.UPSTREAM, False, "can't be reached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TransportError) else None,
)
def test_every_break_has_its_fault_and_shows_no_address(
    error: TransportError, fault: Fault, dispatched: bool, words: str
) -> None:
    failure = transport_failure(error)

    assert (failure.fault, failure.status, failure.dispatched) == (fault, 0, dispatched)
    assert words in failure.message
    assert ADDRESS not in failure.message
    assert type(error).__name__ in failure.detail
