"""
When to leave an upstream alone. One breaker per target; its states and what moves them are this table:

| state | success | failure | time is up |
|---|---|---|---|
| closed | closed | closed, or open after `threshold` failures in a row | |
| open | open | open | half_open |
| half_open | closed | open, for twice as long as before | |

Half open lets one request through at a time. A client that hangs up moves nothing: it says nothing about the upstream.
"""

from dataclasses import dataclass, replace
from enum import Enum

from gateway.upstream_failure import Fault, UpstreamFailure

__all__ = ["Circuit", "CircuitBreaker", "State"]


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known about one target. A value: every event makes a new one."""

    state: State = State.CLOSED
    failures: int = 0
    """In a row."""
    open_until: float = 0.0
    pause: float = 0.0
    """Seconds of the current or last opening."""


CLOSED = Circuit()


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    threshold: int = 5
    pause: float = 5.0
    longest_pause: float = 60.0

    def admits(self, circuit: Circuit, now: float) -> bool:
        return circuit.state is State.CLOSED or (circuit.state is State.OPEN and now >= circuit.open_until)

    def probed(self, circuit: Circuit, now: float) -> Circuit:
        """A request is about to be sent."""
        return replace(circuit, state=State.HALF_OPEN) if circuit.state is State.OPEN else circuit

    def answering(self, circuit: Circuit) -> Circuit:
        """A stream has begun. That answers a probe, but a stream may yet die: what failed before is not forgotten."""
        return replace(circuit, state=State.CLOSED, failures=0) if circuit.state is State.HALF_OPEN else circuit

    def succeeded(self, circuit: Circuit) -> Circuit:
        return CLOSED

    def failed(self, circuit: Circuit, failure: UpstreamFailure, now: float) -> Circuit:
        if failure.fault is Fault.REQUEST:
            return CLOSED  # The upstream is well enough to say what is wrong with the request.
        if failure.fault is Fault.RATE:
            wait = failure.retry_after or 0.0
            return self._opened(circuit, wait, now) if wait > 0 else self._relaxed(circuit)
        failures = circuit.failures + 1
        at_once = failure.fault is Fault.ACCOUNT or circuit.state is State.HALF_OPEN
        if at_once or failures >= self.threshold:
            return self._opened(circuit, max(self.pause, circuit.pause * 2), now)
        return replace(circuit, failures=failures)

    def abandoned(self, circuit: Circuit, now: float) -> Circuit:
        """The probe ended without a verdict (the client hung up): the next request probes again."""
        return replace(circuit, state=State.OPEN, open_until=now) if circuit.state is State.HALF_OPEN else circuit

    def _opened(self, circuit: Circuit, pause: float, now: float) -> Circuit:
        pause = min(self.longest_pause, pause)
        return Circuit(State.OPEN, circuit.failures + 1, now + pause, pause)

    def _relaxed(self, circuit: Circuit) -> Circuit:
        return replace(circuit, state=State.CLOSED) if circuit.state is State.HALF_OPEN else circuit
