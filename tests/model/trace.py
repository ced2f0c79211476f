"""A counterexample as a person reads it: one line a step, faults marked, and what is left in the stores at the end."""

from collections.abc import Iterator

from tests.model.explorer import Counterexample
from tests.model.state import Letter, Row, State
from tests.model.steps import FREE, OPTIONAL, Step

__all__ = ["lines"]

GATEWAYS = "gateway A", "gateway B"
CONSUMERS = "the consumer", "its successor"


def lines(found: Counterexample) -> Iterator[str]:
    yield found.broken
    state = found.start
    for number, step in enumerate(found.steps, 1):
        mark = "FAULT " if step.cause not in (FREE, OPTIONAL) else ""
        yield f"{number:3}. {mark}{_sentence(step, state)}"
        state = step.state
    yield f"  => {_summary(state)}"


def _sentence(step: Step, before: State) -> str:
    about_a_request = "{request}" in step.text
    gateway = before.requests[step.who].gateway if about_a_request else step.who
    return step.text.format(
        request=f"request {step.who + 1}",
        gateway=GATEWAYS[gateway] if "{gateway}" in step.text else "",
        consumer=CONSUMERS[step.who] if "{consumer}" in step.text else "",
    )


def _summary(state: State) -> str:
    rows = [f"{number}: {_amount(row)}" for number, row in enumerate(state.ledger.rows, 1)]
    letters = [f"{letter.request + 1}: {_amount(letter)}" for letter in state.ledger.letters]
    parts = [f"rows {', '.join(rows)}", f"Redis' total {state.redis.ledger}"]
    return "; ".join(parts + ([f"parked {', '.join(letters)}"] if letters else []))


def _amount(one: Row | Letter | None) -> str:
    return f"{one.kind} {one.charged}" if one else "none"
