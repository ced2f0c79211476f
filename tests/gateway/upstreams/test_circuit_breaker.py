"""The table of the circuit breaker's docstring, cell by cell (B6), and what one customer can do to the others (S14)."""

from dataclasses import replace

import pytest

import gateway.upstreams.circuit_breaker
from gateway.upstreams.circuit_breaker import TRANSITIONS, Action, Circuit, CircuitBreaker, Event, State

BREAKER = CircuitBreaker(threshold=3, pause=5.0, max_pause=60.0)
NOW = 1000.0
A, B, C = 1, 2, 3
CLOSED = Circuit(failures=1, accounts=frozenset((B,)), pause=5.0, openings=4)
OPEN = Circuit(State.OPEN, 3, frozenset((A, B)), open_until=NOW + 5, pause=5.0, openings=4)
HALF_OPEN = Circuit(State.HALF_OPEN, 3, frozenset((A, B)), open_until=NOW, pause=5.0, openings=4)
STATES = {State.CLOSED: CLOSED, State.HALF_OPEN: HALF_OPEN, State.OPEN: OPEN}
ONLY_A = frozenset((A,))


def after(
    circuit: Circuit, event: Event, *, account: int = A, openings: int | None = None, now: float = NOW
) -> Circuit:
    began = circuit.openings if openings is None else openings
    return BREAKER.after(circuit, event, account=account, openings=began, now=now)


CELLS: dict[tuple[State, Event], Circuit] = {
    (State.CLOSED, Event.ANSWERED): Circuit(openings=4),
    (State.CLOSED, Event.BEGUN): CLOSED,
    (State.CLOSED, Event.FAILED): replace(CLOSED, failures=2, accounts=frozenset((A, B))),
    (State.CLOSED, Event.ACCOUNT_REFUSED): Circuit(
        State.OPEN, 1, frozenset(), open_until=NOW + 10, pause=10.0, openings=5
    ),
    (State.CLOSED, Event.UNCLEAR): replace(CLOSED, failures=2, accounts=frozenset((A, B))),
    (State.CLOSED, Event.LEFT): CLOSED,
    (State.HALF_OPEN, Event.ANSWERED): Circuit(openings=4),
    (State.HALF_OPEN, Event.BEGUN): Circuit(State.CLOSED, open_until=NOW, pause=5.0, openings=4),
    (State.HALF_OPEN, Event.FAILED): Circuit(State.OPEN, 3, ONLY_A, open_until=NOW + 10, pause=10.0, openings=5),
    (State.HALF_OPEN, Event.ACCOUNT_REFUSED): Circuit(
        State.OPEN, 3, frozenset(), open_until=NOW + 10, pause=10.0, openings=5
    ),
    (State.HALF_OPEN, Event.UNCLEAR): replace(HALF_OPEN, state=State.OPEN),
    (State.HALF_OPEN, Event.LEFT): replace(HALF_OPEN, state=State.OPEN),
    **{(State.OPEN, event): OPEN for event in Event},
}


@pytest.mark.parametrize(("state", "event"), [(state, event) for state in State for event in Event])
def test_each_cell_of_the_table(state: State, event: Event) -> None:
    assert after(STATES[state], event) == CELLS[state, event]


def test_the_docstring_shows_the_table() -> None:
    lines = [line.strip("| \n").split(" | ") for line in (gateway.upstreams.circuit_breaker.__doc__ or "").splitlines()]
    head, *rows = [cells for cells in lines if len(cells) == len(Event) + 1]

    shown = {
        (State(row[0]), Event(event)): Action(cell)
        for row in rows
        for event, cell in zip(head[1:], row[1:], strict=True)
    }

    assert shown == {(state, event): TRANSITIONS[state][event] for state in State for event in Event}


@pytest.mark.parametrize("event", Event)
def test_what_began_before_an_opening_moves_nothing(event: Event) -> None:
    """B6: a failure already under way does not double the pause, a slow success does not close."""
    for circuit in STATES.values():
        assert after(circuit, event, openings=3) == circuit


def test_ten_failures_at_once_are_one_opening() -> None:
    """B6: an upstream restarts under load."""
    circuit = Circuit()
    for account in range(10):
        circuit = after(circuit, Event.FAILED, account=account, openings=0)

    assert (circuit.state, circuit.pause, circuit.open_until) == (State.OPEN, 5.0, NOW + 5)


def test_a_failed_probe_opens_for_twice_as_long_up_to_a_limit() -> None:
    circuit, pauses = HALF_OPEN, []
    for _ in range(6):
        circuit = BREAKER.begun(after(circuit, Event.FAILED, now=circuit.open_until))
        pauses.append(circuit.pause)

    assert pauses == [10, 20, 40, 60, 60, 60]


def test_a_stream_that_answers_the_probe_and_then_breaks_off_is_not_forgotten() -> None:
    circuit = after(HALF_OPEN, Event.BEGUN)
    for account in (A, B, C):
        circuit = after(circuit, Event.FAILED, account=account)

    assert (circuit.state, circuit.pause) == (State.OPEN, 10)


def test_failures_in_a_row_open_and_an_answer_in_between_starts_again() -> None:
    circuit = after(after(Circuit(), Event.FAILED), Event.FAILED)
    again = after(after(after(circuit, Event.ANSWERED), Event.FAILED), Event.FAILED)

    assert (circuit.state, again.state) == (State.CLOSED, State.CLOSED)
    assert after(again, Event.FAILED).state is State.OPEN


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
    assert BREAKER.admits(circuit, C, now) is admits


def test_a_request_through_an_open_circuit_is_the_only_probe() -> None:
    probing = BREAKER.begun(OPEN)

    assert probing.state is State.HALF_OPEN
    assert not BREAKER.admits(probing, C, NOW + 60)


def test_unclear_refusals_of_one_account_never_open() -> None:
    """S14: a firewall that dislikes one customer's prompts."""
    circuit = Circuit()
    for _ in range(50):
        circuit = after(circuit, Event.UNCLEAR)

    assert (circuit.state, circuit.failures) == (State.CLOSED, 1)


def test_unclear_refusals_of_several_accounts_open() -> None:
    circuit = Circuit()
    for account in (A, B, C):
        circuit = after(circuit, Event.UNCLEAR, account=account)

    assert circuit.state is State.OPEN


def test_what_one_account_has_opened_holds_for_that_account_and_another_may_probe() -> None:
    """S14: a request on which a provider crashes, sent again and again."""
    circuit = Circuit()
    for _ in range(3):
        circuit = after(circuit, Event.FAILED)

    assert (BREAKER.admits(circuit, A, NOW), BREAKER.admits(circuit, B, NOW)) == (False, True)
    assert after(BREAKER.begun(circuit), Event.ANSWERED, account=B).state is State.CLOSED


def test_when_another_account_fails_as_well_all_wait_no_longer_than_before() -> None:
    circuit = Circuit()
    for _ in range(3):
        circuit = after(circuit, Event.FAILED)

    circuit = after(BREAKER.begun(circuit), Event.FAILED, account=B, now=NOW + 1)

    assert (circuit.state, circuit.open_until, circuit.pause) == (State.OPEN, NOW + 5, 5.0)
    assert not BREAKER.admits(circuit, C, NOW + 1)
    assert BREAKER.admits(circuit, A, NOW + 5)


def test_a_refused_account_of_ours_holds_for_everybody() -> None:
    circuit = after(Circuit(), Event.ACCOUNT_REFUSED)

    assert circuit.open_until == NOW + 5
    assert not any(BREAKER.admits(circuit, account, NOW) for account in (A, B, C))
