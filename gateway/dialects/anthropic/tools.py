"""Tool definitions, and which of them the model may or must call."""

from typing import Any

import orjson

from gateway.dialects.anthropic.schema import Inexpressible, strict_schema
from gateway.dialects.anthropic.shape import as_list, as_object, as_text, unsupported
from gateway.errors import InvalidRequest

__all__ = ["tool_choice", "tool_definitions", "tools_of_the_history"]

CHOICES = {"auto": "auto", "none": "none", "required": "any"}
UNIONS = ("anyOf", "oneOf", "allOf")
"""What Anthropic refuses at the top of a tool's schema, strict or not."""


def tool_definitions(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    return [_definition(tool, f"tools[{index}]") for index, tool in enumerate(as_list(value, "tools"))]


def _definition(value: object, place: str) -> dict[str, Any]:
    tool = as_object(value, place)
    if tool.get("type") != "function":  # Anthropic's own server tools too: they cost money that no token counts.
        raise unsupported(f"A tool of type `{tool.get('type')}`", f"{place}.type", "Only functions can.")
    function = as_object(tool.get("function"), f"{place}.function")
    parameters = function.get("parameters")
    schema = {} if parameters is None else as_object(parameters, f"{place}.function.parameters")
    definition: dict[str, Any] = {"name": as_text(function.get("name"), f"{place}.function.name")}
    if function.get("description") is not None:
        definition["description"] = as_text(function["description"], f"{place}.function.description")
    strict = function.get("strict") is True
    definition["input_schema"] = _strict(schema, f"{place}.function.parameters") if strict else _input_schema(schema)
    if strict:
        definition["strict"] = True
    cache_control = tool.get("cache_control") or function.get("cache_control")
    if cache_control is not None:
        definition["cache_control"] = cache_control
    return definition


def _input_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """
    As it is: nothing enforces it, and the model reads every keyword.

    Alternatives at the top become one object with the properties of all, and a sentence that says so.
    """
    typed = schema if "type" in schema else {"type": "object", **schema}
    unions = {name: typed[name] for name in UNIONS if isinstance(typed.get(name), list)}
    if not unions:
        return typed
    parts = [part for union in unions.values() for part in union if isinstance(part, dict)]
    properties: dict[str, Any] = {}
    for part in [*parts, typed]:
        properties |= part["properties"] if isinstance(part.get("properties"), dict) else {}
    rule = f"The object must fit {orjson.dumps(unions).decode()}"
    described = "\n\n".join(filter(None, (typed.get("description"), rule)))
    merged = {name: value for name, value in typed.items() if name not in unions}
    return {**merged, "properties": properties, "description": described}


def _strict(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """A tool without parameters is an object without properties."""
    try:
        strict = strict_schema({"type": "object", "properties": {}, **schema})
    except Inexpressible as error:
        raise unsupported(str(error), place, "Leave `strict` out.") from None
    if strict.get("type") != "object":
        raise unsupported("A strict tool whose parameters are not one object", place, "Leave `strict` out.")
    return strict


def tools_of_the_history(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Definitions that only name what was called before: Anthropic wants them wherever the history has calls."""
    blocks = [block for message in messages for block in message["content"] if block["type"] == "tool_use"]
    names = dict.fromkeys(block["name"] for block in blocks)
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def tool_choice(choice: object, parallel: object, *, has_tools: bool) -> dict[str, Any] | None:
    """`tool_choice` and `parallel_tool_calls` in one; None when there is nothing to say."""
    if parallel is not None and not isinstance(parallel, bool):
        raise InvalidRequest("`parallel_tool_calls` must be true or false.", param="parallel_tool_calls")
    chosen = _choice(choice)
    if not has_tools:
        if chosen and chosen["type"] in ("any", "tool"):
            raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice")
        return None
    if parallel is False and (chosen is None or chosen["type"] != "none"):
        return {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen


def _choice(choice: object) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str) and choice in CHOICES:
        return {"type": CHOICES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = as_object(choice.get("function"), "tool_choice.function")
        return {"type": "tool", "name": as_text(function.get("name"), "tool_choice.function.name")}
    raise unsupported("This `tool_choice`", "tool_choice", "Send auto, none, required or a function's name.")
