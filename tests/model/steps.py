"""What a step is: who does what, which fault it needs, and what is true afterwards."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.state import State

__all__ = ["FREE", "OPTIONAL", "Faults", "Step", "Steps"]

FREE = ""
"""Happens by itself, sooner or later."""
OPTIONAL = "optional"
"""May happen, or never: what a person does, what a dropped connection still delivers."""


class Step(NamedTuple):
    text: str
    who: int
    """The number of the request, gateway, consumer or letter that the text is about."""
    cause: str
    """FREE, OPTIONAL or the fault's name."""
    state: State
    broken: str = ""
    """The promise that this step itself breaks."""


Steps = Iterator[Step]
Faults = tuple[str, ...]
"""Those that may still happen."""
