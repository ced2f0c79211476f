"""Tool calls of the history and their results, as Anthropic's blocks."""

from typing import Any

import orjson

from gateway.dialects.anthropic.content_parts import Block, content_blocks
from gateway.dialects.anthropic.shape import as_object, as_text, unsupported
from gateway.dialects.anthropic.tool_ids import ToolIds
from gateway.dialects.exact_json import load

__all__ = ["tool_result", "tool_use"]

WRAPPED = "arguments"
"""Names what is no JSON object: Anthropic takes nothing else as the input of a tool."""


def tool_use(value: object, place: str, ids: ToolIds) -> Block:
    call = as_object(value, place)
    if call.get("type", "function") != "function":
        raise unsupported(f"A tool call of type `{call['type']}`", f"{place}.type")
    function = as_object(call.get("function"), f"{place}.function")
    return {
        "type": "tool_use",
        "id": ids.call(as_text(call.get("id"), f"{place}.id")),
        "name": as_text(function.get("name"), f"{place}.function.name"),
        "input": _input(function.get("arguments"), f"{place}.function.arguments"),
    }


def _input(value: object, place: str) -> dict[str, Any] | orjson.Fragment:
    """
    The client's own text when it is an object: no number loses a digit, and nothing is written again.

    A model may write "" or "null" when a tool needs nothing. What is no object (cut by the token limit, or a list) is
    wrapped: the conversation goes on, and the model sees what it did.
    """
    text = "" if value is None else as_text(value, place)
    if not text.strip():
        return {}
    try:
        arguments = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _repaired(text)
    if isinstance(arguments, dict):
        return orjson.Fragment(text)
    return {} if arguments is None else {WRAPPED: orjson.Fragment(text)}


def _repaired(text: str) -> dict[str, Any]:
    """Half a surrogate pair, which others' parsers take, becomes a replacement character."""
    try:
        arguments = load(text.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return {WRAPPED: text}
    return arguments if isinstance(arguments, dict) else {WRAPPED: arguments}


def tool_result(message: dict[str, Any], place: str, ids: ToolIds) -> Block:
    result: Block = {
        "type": "tool_result",
        "tool_use_id": ids.result(as_text(message.get("tool_call_id"), f"{place}.tool_call_id")),
    }
    blocks = content_blocks(message.get("content"), f"{place}.content")
    if blocks:
        result["content"] = blocks
    if message.get("is_error") is True:
        result["is_error"] = True
    return result
