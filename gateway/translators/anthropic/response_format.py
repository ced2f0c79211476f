"""Answers in JSON: OpenAI's `response_format` as Anthropic's `output_config.format`."""

from typing import Any

from gateway.translators.anthropic.shape import as_object, unsupported

__all__ = ["output_format"]


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
    return {"type": "json_schema", "schema": as_object(described.get("schema"), "response_format.json_schema.schema")}
