"""How the answer is drawn: `temperature`, `top_p` and `top_k`, of which Claude's models take fewer and fewer."""

import re
from typing import Any

from gateway.dialects.anthropic.shape import unsupported
from gateway.errors import InvalidRequest

__all__ = ["sampling"]

PARAMETERS = frozenset(("temperature", "top_p", "top_k"))
LOWEST_TOP_P_OF_THOUGHT = 0.95
TAKES_NONE = re.compile(r"claude-(?:opus-4[-.][789]|[a-z]+-[5-9]|mythos)")


def sampling(document: dict[str, Any], *, model: str, thinks: bool) -> dict[str, Any]:
    """
    Defaults stay unsaid. What the model refuses is refused here, before the first attempt: another target may take it.

    `thinks`: thinking is asked for, beside which no model is drawn from in another way.
    """
    if PARAMETERS.isdisjoint(document):
        return {}
    wanted = {
        "temperature": _below_one(document.get("temperature"), "temperature", 2),
        "top_p": _below_one(document.get("top_p"), "top_p", 1),
        "top_k": document.get("top_k"),
    }
    given = [name for name, value in wanted.items() if value is not None]
    if not given:
        return {}
    if TAKES_NONE.search(model):
        raise unsupported(f"`{given[0]}`", given[0], "This model takes no sampling parameters: leave it out.")
    top_p = wanted["top_p"]
    if thinks and (given != ["top_p"] or top_p is None or top_p < LOWEST_TOP_P_OF_THOUGHT):
        raise unsupported(f"`{given[0]}` beside thinking", given[0], "Leave one of them out.")
    if "temperature" in given and "top_p" in given:
        raise unsupported("`top_p` beside `temperature`", "top_p", "Send one of them.")
    return wanted


def _below_one(value: object, name: str, maximum: int) -> float | None:
    """1 is the default of both; a temperature of OpenAI's above it becomes 1, Anthropic's highest."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise InvalidRequest(f"`{name}` must be a number from 0 to {maximum}.", param=name)
    return value if value < 1 else None
