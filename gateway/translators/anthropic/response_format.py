"""Answers in JSON: OpenAI's `response_format` as Anthropic's `output_config.format`."""

from typing import Any

from gateway.errors import InvalidRequest
from gateway.translators.anthropic.shape import as_object, unsupported

__all__ = ["output_format"]

DATA = {"const", "default", "enum", "examples", "required"}
"""Keywords whose values are data, not schemas."""
NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions"}
"""Keywords whose values are schemas by names of the client's choice."""
DEEPEST = 64


def output_format(value: object) -> dict[str, Any] | None:
    """
    None for plain text. Raises InvalidRequest for `json_object`: Anthropic wants a schema, in which every object names
    all its properties, so "any object" has no equivalent. Better no answer than one that only looks like JSON mode.
    """
    if value is None:
        return None
    wanted = as_object(value, "response_format")
    if wanted.get("type") == "text":
        return None
    if wanted.get("type") != "json_schema":
        raise unsupported(
            f"`response_format` of type `{wanted.get('type')}`", "response_format", "Send a `json_schema` instead."
        )
    described = as_object(wanted.get("json_schema"), "response_format.json_schema")
    schema = as_object(described.get("schema"), "response_format.json_schema.schema")
    return {"type": "json_schema", "schema": _closed(schema)}


def _closed(schema: Any, depth: int = 0) -> Any:
    """
    Anthropic wants every object closed, and OpenAI's clients may leave it unsaid.

    Closing only narrows what the model may answer: whatever fits the closed schema fits the client's.
    """
    if depth > DEEPEST:
        raise InvalidRequest(f"The schema is nested more than {DEEPEST} levels deep.", param="response_format")
    if isinstance(schema, list):
        return [_closed(item, depth + 1) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed_value(name, value, depth + 1) for name, value in schema.items()}
    if isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_value(name: str, value: Any, depth: int) -> Any:
    if name in DATA:
        return value
    if name in NAMED_SCHEMAS and isinstance(value, dict):
        return {key: _closed(schema, depth) for key, schema in value.items()}
    return _closed(value, depth)
