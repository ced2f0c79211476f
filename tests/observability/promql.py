"""What an expression of PromQL names: enough of its grammar to find metrics and labels, not to evaluate anything."""

import re
from dataclasses import dataclass

STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
RANGES = re.compile(r"\[[^\]]*\]")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
NAME = re.compile(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})

DASHBOARD_VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$model": ".*"}


@dataclass(frozen=True, slots=True)
class Names:
    metrics: frozenset[str]
    matched: frozenset[tuple[str, str]]
    """A metric and a label that a selector asks of it."""
    grouped: frozenset[str]
    """Labels of `by`, `on` and the like."""


def resolved(expression: str) -> str:
    """As Grafana sends it, with "All" chosen everywhere."""
    for variable, value in DASHBOARD_VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def names_in(expression: str) -> Names:
    text = RANGES.sub("", STRINGS.sub('""', resolved(expression)))
    grouped = {label.strip() for labels in GROUPING.findall(text) for label in labels.split(",")} - {""}
    text = GROUPING.sub(" ", text)
    selectors = SELECTOR.findall(text)
    matched = {(metric, part.split("=")[0].strip(" !~")) for metric, parts in selectors for part in parts.split(",")}
    bare = re.sub(r"\{[^}]*\}", "", text)
    return Names(frozenset(set(NAME.findall(bare)) - WORDS), frozenset(matched), frozenset(grouped))
