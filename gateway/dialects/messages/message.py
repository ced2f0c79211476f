"""A chat completion as Anthropic's message, and the words that streams and whole answers share."""

from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.error_object import load_object

__all__ = ["message_of", "stop_reason", "tool_input", "usage_of"]

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def message_of(body: bytes, usage: TokenUsage | None) -> bytes:
    """`body` is a chat completion with at least one choice; the first is the answer."""
    completion = load_object(body) or {}
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text = message.get("content") or message.get("refusal")
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if isinstance(text, str) and text else []
    content += [block for call in _list(message.get("tool_calls")) if (block := _tool_use(call)) is not None]
    answer = {
        "id": str(completion.get("id") or ""),
        "type": "message",
        "role": "assistant",
        "model": str(completion.get("model") or ""),
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), refused=bool(message.get("refusal"))),
        "stop_sequence": None,
        "usage": usage_of(usage),
    }
    return orjson.dumps(answer)


def stop_reason(finish_reason: object, *, refused: bool = False) -> str:
    return "refusal" if refused else STOP_REASONS.get(str(finish_reason), "end_turn")


def tool_input(arguments: object) -> dict[str, Any]:
    """Arguments that are no JSON object, as some models write them, are kept where they can be seen."""
    document = load_object(arguments.encode()) if isinstance(arguments, str) and arguments else {}
    return {"arguments": arguments} if document is None else document


def usage_of(usage: TokenUsage | None) -> dict[str, int]:
    counted = usage or TokenUsage()
    return {
        "input_tokens": counted.input,
        "cache_creation_input_tokens": counted.cache_write_5m + counted.cache_write_1h,
        "cache_read_input_tokens": counted.cache_read,
        "output_tokens": counted.completion,
    }


def _tool_use(call: object) -> dict[str, Any] | None:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        return None
    name, arguments = str(function.get("name") or ""), function.get("arguments")
    return {"type": "tool_use", "id": str(call.get("id") or ""), "name": name, "input": tool_input(arguments)}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
