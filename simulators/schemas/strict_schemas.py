"""
What both providers demand of a JSON Schema: that it is one (`SCHEMA`), and of one that an answer must follow strictly,
that every object is closed and, for OpenAI, every property required.
"""

from collections.abc import Iterator
from typing import Any

from simulators.schemas.validation import (
    ANYTHING,
    Choice,
    Either,
    Fields,
    Integer,
    Items,
    Number,
    Path,
    Problem,
    Spec,
    Text,
)

KEYWORDS_WITH_SCHEMA = ("items", "additionalItems", "contains")
KEYWORDS_WITH_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
KEYWORDS_WITH_NAMED_SCHEMAS = ("properties", "$defs", "definitions")


class _Schema(Spec):
    """A JSON Schema: an object whose known keywords have their types, or a boolean."""

    kinds = frozenset({"object", "boolean"})
    noun = "object"

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        if isinstance(value, dict):
            yield from KEYWORDS.problems(value, path)


SCHEMA = _Schema()
_TYPE = Choice("object", "array", "string", "integer", "number", "boolean", "null")
KEYWORDS = Fields(
    optional={
        "type": Either(_TYPE, Items(_TYPE, fewest=1)),
        "enum": Items(ANYTHING, fewest=1),
        "required": Items(Text()),
        "$ref": Text(),
        "format": Text(),
        "pattern": Text(),
        "description": Text(),
        "multipleOf": Number(least=1e-9),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), Number()),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), Integer(least=0)),
        **dict.fromkeys(("additionalProperties", *KEYWORDS_WITH_SCHEMA), SCHEMA),
        **dict.fromkeys(KEYWORDS_WITH_SCHEMAS, Items(SCHEMA, fewest=1)),
        **dict.fromkeys(KEYWORDS_WITH_NAMED_SCHEMAS, Fields(extra=SCHEMA)),
    },
    extra=ANYTHING,
)


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
