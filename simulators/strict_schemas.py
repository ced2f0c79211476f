"""
What both providers demand of a JSON Schema that an answer must follow strictly: every object closed, and for OpenAI
every property required.
"""

from collections.abc import Iterator
from typing import Any

KEYWORDS_WITH_SCHEMA = ("items", "additionalItems", "contains")
KEYWORDS_WITH_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
KEYWORDS_WITH_NAMED_SCHEMAS = ("properties", "$defs", "definitions")


def open_objects(schema: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Path and schema of every object that does not say `additionalProperties: false`."""
    for path, one in _objects(schema, ()):
        if one.get("additionalProperties") is not False:
            yield path, one


def optional_properties(schema: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and name of every property that its object does not require."""
    for path, one in _objects(schema, ()):
        for name in one.get("properties") or {}:
            if name not in (one.get("required") or []):
                yield path, name


def _objects(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema:
        yield path, schema
    for step, inner in _inner(schema):
        yield from _objects(inner, (*path, *step))


def _inner(schema: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for keyword in KEYWORDS_WITH_SCHEMA:
        yield (keyword,), schema.get(keyword)
    for keyword in KEYWORDS_WITH_SCHEMAS:
        for index, inner in enumerate(schema.get(keyword) or []):
            yield (keyword, str(index)), inner
    for keyword in KEYWORDS_WITH_NAMED_SCHEMAS:
        for name, inner in (schema.get(keyword) or {}).items():
            yield (keyword, name), inner
