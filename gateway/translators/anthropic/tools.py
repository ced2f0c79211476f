"""Tool definitions, and which of them the model may or must call."""

from typing import Any

from gateway.errors import InvalidRequest
from gateway.translators.anthropic.shape import as_list, as_object, as_text, unsupported

__all__ = ["tool_choice", "tool_definitions"]

CHOICES = {"auto": "auto", "none": "none", "required": "any"}


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
    definition["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    if function.get("strict") is True:
        definition["strict"] = True
    cache_control = tool.get("cache_control") or function.get("cache_control")
    if cache_control is not None:
        definition["cache_control"] = cache_control
    return definition


def tool_choice(choice: object, parallel: object, *, has_tools: bool) -> dict[str, Any] | None:
    """`tool_choice` and `parallel_tool_calls` in one; None when there is nothing to say."""
    if parallel not in (None, True, False):
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
