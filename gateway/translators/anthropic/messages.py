"""
The conversation. Anthropic knows two roles that take turns, and one system prompt in front of everything.

System and developer messages move to the top, in their order. Neighbours of one role become one message. Results of
tools are part of the user's turn and come first in it, because Anthropic wants them right after the calls.
"""

import re
from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.translators.anthropic.content_parts import Block, content_blocks, text_blocks
from gateway.translators.anthropic.shape import as_list, as_object, as_text, unsupported
from gateway.translators.anthropic.thinking_blocks import thinking_blocks

__all__ = ["conversation"]

FOREIGN_IN_TOOL_ID = re.compile(r"[^a-zA-Z0-9_-]")


def conversation(messages: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """System blocks and messages. Raises InvalidRequest, with the place in `param`."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        role = message["role"]
        if role in ("system", "developer"):
            system += _marked(message, text_blocks(message.get("content"), f"{place}.content"))
            continue
        if role not in BLOCKS:
            raise unsupported(f"A message of role `{role}`", f"{place}.role")
        _append(turns, "assistant" if role == "assistant" else "user", BLOCKS[role](message, place))
    if not turns:
        raise InvalidRequest("`messages` must hold more than system messages and empty ones.", param="messages")
    for turn in turns:
        turn["content"].sort(key=_after_results)
    return system, turns


def _append(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        turns.append({"role": role, "content": blocks})


def _after_results(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


def _marked(message: dict[str, Any], blocks: list[Block]) -> list[Block]:
    """`cache_control` beside a message's content belongs to its last block."""
    if blocks and message.get("cache_control") is not None:
        blocks[-1]["cache_control"] = message["cache_control"]
    return blocks


def _user(message: dict[str, Any], place: str) -> list[Block]:
    return _marked(message, content_blocks(message.get("content"), f"{place}.content"))


def _assistant(message: dict[str, Any], place: str) -> list[Block]:
    if message.get("function_call") is not None:
        raise unsupported("The old `function_call`", f"{place}.function_call", "Send `tool_calls`.")
    if message.get("audio") is not None:
        raise unsupported("Audio", f"{place}.audio")
    blocks = thinking_blocks(message.get("thinking_blocks"), f"{place}.thinking_blocks")
    blocks += content_blocks(message.get("content"), f"{place}.content")
    blocks += content_blocks(message.get("refusal"), f"{place}.refusal")
    calls = as_list(message.get("tool_calls") or [], f"{place}.tool_calls")
    blocks += [_tool_use(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls)]
    return _marked(message, blocks)


def _tool_use(value: object, place: str) -> Block:
    call = as_object(value, place)
    if call.get("type", "function") != "function":
        raise unsupported(f"A tool call of type `{call['type']}`", f"{place}.type")
    function = as_object(call.get("function"), f"{place}.function")
    return {
        "type": "tool_use",
        "id": _tool_id(call.get("id"), f"{place}.id"),
        "name": as_text(function.get("name"), f"{place}.function.name"),
        "input": _arguments(function.get("arguments"), f"{place}.function.arguments"),
    }


def _arguments(value: object, place: str) -> dict[str, Any]:
    """A model that needs no arguments may write "" or "{}"."""
    text = as_text("" if value is None else value, place)
    try:
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        raise InvalidRequest(f"`{place}` must be JSON.", param=place) from None
    return as_object(arguments, place)


def _tool(message: dict[str, Any], place: str) -> list[Block]:
    result: Block = {
        "type": "tool_result",
        "tool_use_id": _tool_id(message.get("tool_call_id"), f"{place}.tool_call_id"),
    }
    blocks = content_blocks(message.get("content"), f"{place}.content")
    if blocks:
        result["content"] = blocks
    if message.get("is_error") is True:
        result["is_error"] = True
    return _marked(message, [result])


def _tool_id(value: object, place: str) -> str:
    """Other providers' ids may hold characters that Anthropic refuses; call and result change alike."""
    return FOREIGN_IN_TOOL_ID.sub("_", as_text(value, place))


BLOCKS = {"user": _user, "assistant": _assistant, "tool": _tool}
