"""
Which `Script` a call follows: its own directive, overlaid by the first queued fault that matches it.

`FaultQueue` counts: a queued fault is used up after `times` calls, and a directive with `times=n` misbehaves on the
first n calls that carry it and answers normally afterwards, so that a test of retries needs no control API.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from simulators.faults.directives import FAULT_FIELDS, Script, write_script
from simulators.faults.refusals import Refused
from simulators.schemas.validation import ANY_OBJECT, Fields, Integer, Text

RULE = Fields(
    required={"fault": ANY_OBJECT},
    optional={
        "times": Integer(least=1),
        "match": Fields(optional={name: Text() for name in ("provider", "model", "api_key", "client_request_id")}),
    },
)
MOST_COUNTED_DIRECTIVES = 100_000


@dataclass
class _Rule:
    match: dict[str, str]
    times: int
    fault: dict[str, Any]


class FaultQueue:
    """Faults waiting for their calls, in the order in which they were queued."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._seen: Counter[tuple[tuple[str, str], ...]] = Counter()

    def add(self, rule: dict[str, Any]) -> None:
        """Queue `{"match": {...}, "times": 1, "fault": {...}}`; 400 when it would never work."""
        problem = RULE.first_problem(rule)
        if problem is not None:
            raise Refused(400, f"fault rule: {problem.kind} at {'.'.join(map(str, problem.path)) or 'its top'}")
        write_script(rule["fault"])
        self._rules.append(_Rule(rule.get("match", {}), rule.get("times", 1), rule["fault"]))

    def waiting(self) -> list[dict[str, Any]]:
        return [{"match": rule.match, "times": rule.times, "fault": rule.fault} for rule in self._rules]

    def clear(self) -> None:
        self._rules.clear()
        self._seen.clear()

    def script(self, settings: dict[str, Any], call: dict[str, str]) -> Script:
        """The script of a call that carries the directive `settings`; uses up what it takes from the queue."""
        directive = write_script(settings)
        if not self._misbehaves(directive, settings, call):
            settings = {name: value for name, value in settings.items() if name not in FAULT_FIELDS}
        return write_script({**settings, **self._take(call)})

    def _misbehaves(self, directive: Script, settings: dict[str, Any], call: dict[str, str]) -> bool:
        if directive.model not in (None, call["model"], call["provider"]):
            return False
        if not directive.times:
            return True
        if len(self._seen) >= MOST_COUNTED_DIRECTIVES:
            self._seen.clear()
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        self._seen[key] += 1
        return self._seen[key] <= directive.times

    def _take(self, call: dict[str, str]) -> dict[str, Any]:
        for rule in self._rules:
            if all(call.get(name) == value for name, value in rule.match.items()):
                rule.times -= 1
                if rule.times == 0:
                    self._rules.remove(rule)
                return rule.fault
        return {}
