"""
Ids of tool calls. Anthropic wants each of them once in a conversation, in letters that other providers don't keep to;
OpenAI wants them only to be different within a message, and some servers count from 0 in each.
"""

import re
from collections import deque

__all__ = ["ToolIds"]

FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
NAMELESS = "call"


class ToolIds:
    """Of one conversation, in its order. A result gets the id that its call got."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._numbers: dict[str, int] = {}
        """The last one that each id was given: so that no call counts from 1 again."""
        self._unanswered: dict[str, deque[str]] = {}
        self._answered: dict[str, str] = {}

    def call(self, id: str) -> str:
        """A number makes an id that is used again, or that only its foreign letters told apart, a new one."""
        clean = FOREIGN.sub("_", id) or NAMELESS
        unique, number = clean, self._numbers.get(clean, 1)
        while unique in self._used:
            number += 1
            unique = f"{clean}_{number}"
        self._numbers[clean] = number
        self._used.add(unique)
        self._unanswered.setdefault(id, deque()).append(unique)
        return unique

    def result(self, id: str) -> str:
        """Of the oldest call by this id that has no result yet. What answers nothing keeps its id, and is refused."""
        waiting = self._unanswered.get(id)
        if waiting:
            self._answered[id] = waiting.popleft()
        return self._answered.get(id) or FOREIGN.sub("_", id) or NAMELESS
