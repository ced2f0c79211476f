"""A complete answer: Anthropic's message as a chat completion."""

from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.anthropic.errors import in_band_failure
from gateway.dialects.anthropic.stop_reasons import finish_reason, refusal_text, unknown_reason
from gateway.dialects.anthropic.thinking_blocks import FIELDS, Thought, written
from gateway.dialects.anthropic.usage import UsageReport, client_usage
from gateway.dialects.delivered import text_tokens
from gateway.dialects.error_object import load_object
from gateway.dialects.exact_json import has_long_number, load_exactly
from gateway.dialects.translator import Answer, MalformedAnswer
from gateway.failure import Fault, UpstreamFailure

__all__ = ["arguments", "chat_answer"]


def chat_answer(body: bytes, *, created: int, input_includes_cache: bool) -> Answer:
    """Raises MalformedAnswer. `usage` is left out where the upstream reported none: it is never made up."""
    source = _source(body)
    try:
        message = _message(source)
        report = UsageReport(input_includes_cache=input_includes_cache)
        report.note_final(source.get("usage"))
        delivered = text_tokens(message)
        usage, flaw = report.read(delivered)
        completion = orjson.dumps(_completion(source, message, usage, created))
    except orjson.JSONEncodeError as error:
        raise MalformedAnswer(_garbage("it is nested too deeply")) from error
    trusted = usage is not None and flaw is None
    oddity = unknown_reason(source.get("stop_reason")) or report.oddity
    return Answer(completion, usage, 0 if trusted else delivered, flaw, oddity)


def _source(body: bytes) -> dict[str, Any]:
    source = load_object(body)
    if source is not None and source.get("error"):
        raise MalformedAnswer(in_band_failure(source))
    if source is None or not isinstance(source.get("content"), list):
        raise MalformedAnswer(_garbage("it is not a message"))
    if b'"tool_use"' in body and has_long_number(body):
        exact: dict[str, Any] = load_exactly(body)
        return exact
    return source


def _garbage(why: str) -> UpstreamFailure:
    return UpstreamFailure(Fault.UPSTREAM, 200, f"The provider's answer is broken: {why}.")


def _completion(
    source: dict[str, Any], message: dict[str, Any], usage: TokenUsage | None, created: int
) -> dict[str, Any]:
    completion = {
        "id": str(source.get("id") or ""),
        "object": "chat.completion",
        "created": created,
        "model": str(source.get("model") or ""),
        "choices": [_choice(source, message)],
    }
    if usage is not None:
        completion["usage"] = client_usage(usage)
    return completion


def _choice(source: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    reason = finish_reason(source.get("stop_reason"), has_tool_calls="tool_calls" in message)
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}


def _message(source: dict[str, Any]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[Thought] = []
    characters = 0
    for block in source["content"]:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_use":
            calls.append(_tool_call(block))
        elif kind == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
            characters += len(block["text"])
        elif kind in FIELDS:
            fields = {name: str(block.get(name) or "") for name in FIELDS[kind]}
            thoughts.append(Thought({"type": kind, **fields}, characters, len(calls)))
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": refusal_text(source.get("stop_reason"), source.get("stop_details")),
    }
    if thoughts:
        message["reasoning_content"] = "".join(thought.block.get("thinking", "") for thought in thoughts)
        message["thinking_blocks"] = [written(thought) for thought in thoughts]
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": str(block.get("name") or ""), "arguments": arguments(block.get("input"))}
    return {"id": str(block.get("id") or ""), "type": "function", "function": function}


def arguments(input: object) -> str:
    """Of a tool call, as the text that OpenAI makes of them."""
    return orjson.dumps(input or {}).decode()
