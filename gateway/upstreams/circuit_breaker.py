"""
When to leave an upstream alone. One circuit per target; `TRANSITIONS` says what each event does to each state:

| state | answered | begun | failed | account refused | unclear | left |
|---|---|---|---|---|---|---|
| closed | reset | stay | count | open | count once | stay |
| half open | reset | close | open longer | open longer | ask again | ask again |
| open | stay | stay | stay | stay | stay | stay |

An open circuit lets one request through when its pause is over: it is half open until that request, the probe, has
told how the upstream is. An attempt that began before an opening says nothing afterwards: ten requests that fail
together are one opening, and a slow answer does not close it.

One customer must not take a model from the others. What the requests of a single account have opened holds for that
account; a request of another one may probe at once, and if it fails as well, the circuit is open for everybody. A
refusal that may be the request's own fault counts once for each account.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["TRANSITIONS", "Action", "Circuit", "CircuitBreaker", "Event", "State"]


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Event(StrEnum):
    """How an attempt has gone."""

    ANSWERED = "answered"
    """Also: refused with words that name the request. The upstream is well."""
    BEGUN = "begun"
    """A stream has its first content, and may yet die. Also a rate limit: somebody is there."""
    FAILED = "failed"
    ACCOUNT_REFUSED = "account refused"
    """Our own account at the provider: no request will be answered."""
    UNCLEAR = "unclear"
    """Refused, and nothing says whether the request or our account is the reason."""
    LEFT = "left"
    """The client hung up: it says nothing about the upstream."""


class Action(StrEnum):
    STAY = "stay"
    RESET = "reset"
    CLOSE = "close"
    """What failed before is not forgotten: the next opening is longer."""
    COUNT = "count"
    """Opens when `threshold` is reached."""
    COUNT_ONCE = "count once"
    OPEN = "open"
    OPEN_LONGER = "open longer"
    ASK_AGAIN = "ask again"
    """The next request is the probe."""


TRANSITIONS: dict[State, dict[Event, Action]] = {
    State.CLOSED: {
        Event.ANSWERED: Action.RESET,
        Event.BEGUN: Action.STAY,
        Event.FAILED: Action.COUNT,
        Event.ACCOUNT_REFUSED: Action.OPEN,
        Event.UNCLEAR: Action.COUNT_ONCE,
        Event.LEFT: Action.STAY,
    },
    State.HALF_OPEN: {
        Event.ANSWERED: Action.RESET,
        Event.BEGUN: Action.CLOSE,
        Event.FAILED: Action.OPEN_LONGER,
        Event.ACCOUNT_REFUSED: Action.OPEN_LONGER,
        Event.UNCLEAR: Action.ASK_AGAIN,
        Event.LEFT: Action.ASK_AGAIN,
    },
    State.OPEN: dict.fromkeys(Event, Action.STAY),
}


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known about one target. A value: every event makes a new one."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    accounts: frozenset[int] = frozenset()
    """Whose requests those were. Empty in an open circuit: it holds for everybody."""
    open_until: float = 0.0
    pause: float = 0.0
    """Seconds of the current or last opening."""
    openings: int = 0
    """So far. An attempt remembers the number it began under."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    threshold: int = 5
    pause: float = 5.0
    max_pause: float = 60.0

    def admits(self, circuit: Circuit, account: int, now: float) -> bool:
        if circuit.state is not State.OPEN:
            return circuit.state is State.CLOSED
        of_one_account = len(circuit.accounts) == 1
        return now >= circuit.open_until or (of_one_account and account not in circuit.accounts)

    def begun(self, circuit: Circuit) -> Circuit:
        """An admitted request is about to be sent: through an open circuit, it is the probe."""
        return replace(circuit, state=State.HALF_OPEN) if circuit.state is State.OPEN else circuit

    def after(self, circuit: Circuit, event: Event, *, account: int, openings: int, now: float) -> Circuit:
        """`openings` is the circuit's count when the attempt began."""
        if openings != circuit.openings:
            return circuit
        return ACTIONS[TRANSITIONS[circuit.state][event]](self, circuit, event, account, now)

    def _stay(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        return circuit

    def _reset(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        if not circuit.failures and not circuit.pause:
            return circuit  # As it nearly always is: a new one costs a microsecond.
        return Circuit(openings=circuit.openings)

    def _close(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        return replace(circuit, state=State.CLOSED, failures=0, accounts=frozenset())

    def _count(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        counted = replace(circuit, failures=circuit.failures + 1, accounts=circuit.accounts | {account})
        return self._open(counted, event, account, now) if counted.failures >= self.threshold else counted

    def _count_once(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        return circuit if account in circuit.accounts else self._count(circuit, event, account, now)

    def _open(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        pause = min(self.max_pause, max(self.pause, circuit.pause * 2))
        return replace(
            circuit,
            state=State.OPEN,
            accounts=frozenset() if event is Event.ACCOUNT_REFUSED else circuit.accounts,
            open_until=now + pause,
            pause=pause,
            openings=circuit.openings + 1,
        )

    def _open_longer(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        if now < circuit.open_until:  # The probe of another account, before the pause was over: they all wait now.
            return replace(circuit, state=State.OPEN, accounts=frozenset(), openings=circuit.openings + 1)
        return self._open(replace(circuit, accounts=frozenset((account,))), event, account, now)

    def _ask_again(self, circuit: Circuit, event: Event, account: int, now: float) -> Circuit:
        return replace(circuit, state=State.OPEN)


ACTIONS: dict[Action, Callable[[CircuitBreaker, Circuit, Event, int, float], Circuit]] = {
    Action.STAY: CircuitBreaker._stay,
    Action.RESET: CircuitBreaker._reset,
    Action.CLOSE: CircuitBreaker._close,
    Action.COUNT: CircuitBreaker._count,
    Action.COUNT_ONCE: CircuitBreaker._count_once,
    Action.OPEN: CircuitBreaker._open,
    Action.OPEN_LONGER: CircuitBreaker._open_longer,
    Action.ASK_AGAIN: CircuitBreaker._ask_again,
}
