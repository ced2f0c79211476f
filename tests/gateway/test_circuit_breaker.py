"""The table of the circuit breaker's docstring, cell by cell."""

import pytest

from gateway.circuit_breaker import Circuit, CircuitBreaker, State
from gateway.upstream_failure import Fault, UpstreamFailure

BREAKER = CircuitBreaker(threshold=3, pause=5.0, longest_pause=60.0)
NOW = 1000.0
CLOSED = Circuit()
OPEN = Circuit(State.OPEN, failures=3, open_until=NOW + 5, pause=5.0)
HALF_OPEN = Circuit(State.HALF_OPEN, failures=3, open_until=NOW, pause=5.0)


def failed(circuit: Circuit, fault: Fault = Fault.UPSTREAM, *, retry_after: float | None = None) -> Circuit:
    return BREAKER.failed(circuit, UpstreamFailure(fault, 0, "", retry_after=retry_after), NOW)


@pytest.mark.parametrize(
    ("circuit", "now", "admits"),
    [
        (CLOSED, NOW, True),
        (OPEN, NOW, False),
        (OPEN, NOW + 4.99, False),
        (OPEN, NOW + 5, True),
        (HALF_OPEN, NOW + 1000, False),  # One probe at a time.
    ],
)
def test_who_is_let_through(circuit: Circuit, now: float, admits: bool) -> None:
    assert BREAKER.admits(circuit, now) is admits


@pytest.mark.parametrize("circuit", [CLOSED, OPEN, HALF_OPEN])
def test_a_success_closes(circuit: Circuit) -> None:
    assert BREAKER.succeeded(circuit) == CLOSED


@pytest.mark.parametrize("fault", [Fault.UPSTREAM, Fault.TIMEOUT])
def test_failures_in_a_row_open(fault: Fault) -> None:
    first = failed(CLOSED, fault)
    second = failed(first, fault)
    third = failed(second, fault)

    assert [first.state, second.state, third.state] == [State.CLOSED, State.CLOSED, State.OPEN]
    assert third.open_until == NOW + 5


def test_a_success_in_between_starts_the_count_again() -> None:
    circuit = failed(failed(CLOSED))

    circuit = failed(failed(BREAKER.succeeded(circuit)))

    assert circuit.state is State.CLOSED


def test_an_account_at_fault_opens_at_once() -> None:
    assert failed(CLOSED, Fault.ACCOUNT).open_until == NOW + 5


def test_a_failed_probe_opens_for_twice_as_long_up_to_a_limit() -> None:
    circuit, pauses = HALF_OPEN, []
    for _ in range(6):
        circuit = BREAKER.probed(failed(circuit), NOW)
        pauses.append(circuit.pause)

    assert pauses == [10, 20, 40, 60, 60, 60]


@pytest.mark.parametrize("circuit", [CLOSED, OPEN, HALF_OPEN])
def test_a_refused_request_shows_that_the_upstream_is_well(circuit: Circuit) -> None:
    assert failed(circuit, Fault.REQUEST) == CLOSED


def test_a_rate_limit_opens_for_as_long_as_it_says() -> None:
    assert failed(CLOSED, Fault.RATE, retry_after=2.5).open_until == NOW + 2.5
    assert failed(CLOSED, Fault.RATE, retry_after=3600).open_until == NOW + 60


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_a_rate_limit_without_a_pause_opens_nothing(retry_after: float | None) -> None:
    assert failed(CLOSED, Fault.RATE, retry_after=retry_after).state is State.CLOSED
    assert failed(HALF_OPEN, Fault.RATE, retry_after=retry_after).state is State.CLOSED


@pytest.mark.parametrize(
    ("circuit", "state"), [(CLOSED, State.CLOSED), (OPEN, State.HALF_OPEN), (HALF_OPEN, State.HALF_OPEN)]
)
def test_a_request_through_an_open_circuit_is_a_probe(circuit: Circuit, state: State) -> None:
    assert BREAKER.probed(circuit, NOW).state is state


def test_a_probe_whose_client_hung_up_is_repeated_by_the_next_request() -> None:
    circuit = BREAKER.abandoned(HALF_OPEN, NOW)

    assert circuit.state is State.OPEN
    assert BREAKER.admits(circuit, NOW)


@pytest.mark.parametrize("circuit", [CLOSED, OPEN])
def test_a_hang_up_moves_nothing_else(circuit: Circuit) -> None:
    """F58"""
    assert BREAKER.abandoned(circuit, NOW) == circuit
