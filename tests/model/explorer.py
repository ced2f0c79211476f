"""
Every order in which the steps of the protocol and the faults can happen, breadth-first.

All states that need no fault come first, then those that need one, and so on; among them the nearest first. So what is
found is a counterexample with the fewest faults, and of these the shortest. A state that was reached with fewer faults
is not looked at again. States are remembered by their hash (64 bits): with ten million of them, the chance that two
share one and some are missed is one in 300,000.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.model.canonical import canonical, without_further_faults
from tests.model.faults import FAULTS, consequences, fault_steps, mending_steps
from tests.model.gateway import gateway_steps
from tests.model.invariants import at_each_commit, at_the_end
from tests.model.metering import metering_steps
from tests.model.protocol import Protocol
from tests.model.state import State, initial
from tests.model.steps import FREE, OPTIONAL, Faults, Step

__all__ = ["Counterexample", "Result", "Scope", "explore"]

PROGRESS_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is explored, and what is looked for: any broken promise, or one of `promises`."""

    protocol: Protocol = field(default_factory=Protocol)
    requests: tuple[int, ...] = (0, 1)
    """The gateway of each request."""
    max_faults: int = 1
    deaths_of_redis: int = 1
    """Of these faults."""
    faults: tuple[str, ...] = FAULTS
    promises: tuple[str, ...] = ()
    never: str = ""
    """Steps whose text contains this are left out: what they cause is covered elsewhere."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    broken: str
    steps: list[Step]
    start: State

    @property
    def faults(self) -> list[str]:
        return [step.cause for step in self.steps if step.cause not in (FREE, OPTIONAL)]


@dataclass(frozen=True, slots=True)
class Result:
    states: int
    transitions: int
    counterexample: Counterexample | None


def explore(scope: Scope, report: Callable[[str], None] = lambda line: None) -> Result:
    gc.disable()  # States hold no cycles, and looking for some among millions takes longer than all the rest.
    try:
        return _Explorer(scope, report).run()
    finally:
        gc.enable()


class _Explorer:
    def __init__(self, scope: Scope, report: Callable[[str], None]) -> None:
        self._scope = scope
        self._start = initial(scope.requests, scope.deaths_of_redis)
        self._came_from: dict[int, int] = {hash(self._start): 0}
        self._by_depth: list[dict[int, list[State]]] = [{} for _ in range(scope.max_faults + 2)]
        self._parts: dict[Any, Any] = {}
        self._transitions = 0
        self._report = report
        self._reported_at = time.monotonic()

    def run(self) -> Result:
        self._by_depth[0][0] = [self._start]
        for faults in range(self._scope.max_faults + 1):
            layer, depth = self._by_depth[faults], 0
            while layer:
                for state in layer.pop(depth, ()):
                    broken = self._visit(state, faults, depth)
                    if broken:
                        return self._result(self._trace(state, *broken))
                depth += 1
                self._progress(faults, depth, layer)
        return self._result(None)

    def _visit(self, state: State, faults: int, depth: int) -> tuple[Step | None, str] | None:
        """Put down what can come next. Returns what breaks a promise: a step, or the state in which all is at rest."""
        at_rest = True
        for step in self._steps(state, faults):
            at_rest = at_rest and step.cause != FREE
            more = faults + (step.cause not in (FREE, OPTIONAL))
            after = self._seen_as(step.state, more)
            if broken := self._first_wanted(_broken_by(step, state, after)):
                return step, broken
            key = hash(after)
            if key not in self._came_from:
                self._came_from[key] = hash(state)
                self._by_depth[more].setdefault(depth + 1, []).append(self._shared(after))
        broken = self._first_wanted(at_the_end(state)) if at_rest else ""
        return (None, broken) if broken else None

    def _shared(self, state: State) -> State:
        """Millions of states wait at once, and most of their parts are the same: each is kept once."""
        return State._make([self._parts.setdefault(one, one) if isinstance(one, tuple) else one for one in state])

    def _steps(self, state: State, faults: int) -> Iterator[Step]:
        scope = self._scope
        for step in steps(state, scope.protocol, scope.faults if faults < scope.max_faults else ()):
            if not (scope.never and scope.never in step.text):
                self._transitions += 1
                yield step

    def _seen_as(self, state: State, faults: int) -> State:
        return canonical(state if faults < self._scope.max_faults else without_further_faults(state))

    def _first_wanted(self, promises: Iterable[str]) -> str:
        wanted = self._scope.promises
        return next((promise for promise in promises if not wanted or promise in wanted), "")

    def _trace(self, state: State, last: Step | None, broken: str) -> Counterexample:
        """Along the hashes back to the start, then once more along the states."""
        keys = [hash(state)]
        while self._came_from[keys[-1]]:
            keys.append(self._came_from[keys[-1]])
        state, found, faults = self._start, [], 0
        for key in reversed(keys[:-1]):
            for step in self._steps(state, faults):
                more = faults + (step.cause not in (FREE, OPTIONAL))
                after = self._seen_as(step.state, more)
                if hash(after) == key:
                    break
            found.append(step)
            state, faults = after, more
        return Counterexample(broken, [*found, *([last] if last else [])], self._start)

    def _progress(self, faults: int, depth: int, layer: dict[int, list[State]]) -> None:
        if time.monotonic() - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = time.monotonic()
            waiting = sum(map(len, layer.values()))
            self._report(f"{faults} faults, {depth} steps: {len(self._came_from):,} states, {waiting:,} waiting")

    def _result(self, counterexample: Counterexample | None) -> Result:
        return Result(len(self._came_from), self._transitions, counterexample)


def _broken_by(step: Step, before: State, after: State) -> Iterator[str]:
    if step.broken:
        yield step.broken
    if after.ledger != before.ledger:
        yield from at_each_commit(after)


def steps(state: State, protocol: Protocol, faults: Faults) -> Iterator[Step]:
    """What can happen next, with these faults."""
    yield from gateway_steps(state, protocol, faults)
    yield from metering_steps(state, protocol, faults)
    yield from mending_steps(state, protocol)
    yield from consequences(state, protocol)
    if faults:
        yield from [step for step in fault_steps(state, protocol) if step.cause in faults]
