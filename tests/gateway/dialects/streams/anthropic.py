"""Streams of Anthropic's Messages API, in the shapes that its documentation shows."""

from typing import Any

import orjson


def event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def start(**usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1, **usage},
    }
    return event("message_start", message=message)


def block(index: int, content_block: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    pieces = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    opened = event("content_block_start", index=index, content_block=content_block)
    return b"".join([opened, *pieces, event("content_block_stop", index=index)])


def text(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def thought(index: int, *pieces: str, signature: str = "EqQBCgIYAg==") -> bytes:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    return block(index, empty, *deltas, {"type": "signature_delta", "signature": signature})


def tool(index: int, id: str, name: str, *pieces: str, input: Any = None, kind: str = "tool_use") -> bytes:
    opened = {"type": kind, "id": id, "name": name, "input": input or {}}
    return block(index, opened, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def end(reason: str = "end_turn", usage: dict[str, Any] | None = None, **delta: Any) -> bytes:
    ended = {"stop_reason": reason, "stop_sequence": None, **delta}
    return event("message_delta", delta=ended, usage=usage or {"output_tokens": 15}) + STOP


STOP = event("message_stop")
PING = event("ping")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})

LONG = "1234567890123456789012"
LONG_TEXT, LONG_DIGITS = f'"{LONG}"'.encode(), LONG.encode()

PLAIN = start() + PING + text(0, "Hel", "lo", " \u2028\U0001f600") + end()
THINKING = (
    start()
    + thought(0, "Let me", " think")
    + text(1, "It is")
    + thought(2, "once more", signature="Second==")
    + text(3, " 42")
    + end(usage={"output_tokens": 60, "output_tokens_details": {"thinking_tokens": 40}})
)
REDACTED = start() + block(0, {"type": "redacted_thinking", "data": "EmwKAhgB"}) + text(1, "Hi") + end()
TOOL = (
    start()
    + text(0, "I'll look.")
    + tool(1, "toolu_1", "get_weather", "", '{"location":', ' "Paris"}')
    + end("tool_use", {"output_tokens": 89})
)
PARALLEL_TOOLS = (
    start()
    + tool(0, "toolu_1", "get_weather", '{"location": "Paris"}')
    + text(1, "and")
    + tool(2, "toolu_2", "get_time", '{"zone"', ': "CET"}')
    + end("tool_use")
)
INTERLEAVED_TOOLS = (
    start()
    + event("content_block_start", index=0, content_block={"type": "tool_use", "id": "a", "name": "f", "input": {}})
    + event("content_block_start", index=1, content_block={"type": "tool_use", "id": "b", "name": "g", "input": {}})
    + event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"x":'})
    + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"})
    + event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": "1}"})
    + event("content_block_stop", index=0)
    + event("content_block_stop", index=1)
    + end("tool_use")
)
EMPTY_INPUT = start() + tool(0, "toolu_1", "now") + tool(1, "toolu_2", "later", "") + end("tool_use")
WHOLE_INPUT = start() + tool(0, "toolu_1", "add", input={"a": 1, "b": 2}) + end("tool_use")
REUSED_INDEX = start() + tool(0, "toolu_1", "f", '{"a":1}') + tool(0, "toolu_2", "g", '{"b":2}') + end("tool_use")
SERVER_TOOL = (
    start()
    + tool(0, "srvtoolu_1", "web_search", '{"query":"x"}', kind="server_tool_use")
    + block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
    + block(
        2,
        {"type": "text", "text": "Found"},
        {"type": "citations_delta", "citation": {"type": "web_search_result_location"}},
        {"type": "text_delta", "text": " it"},
    )
    + end()
)
REFUSAL = (
    start()
    + text(0, "I")
    + end("refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "That is unsafe."})
)
NEWER_EVENTS = start() + event("something_new", index=0) + text(0, "Hi") + event("another") + end("a_new_reason")
NO_USAGE = (
    (start() + text(0, "Hello there") + end())
    .replace(b',"usage":{"input_tokens":25,"output_tokens":1}', b"")
    .replace(b',"usage":{"output_tokens":15}', b"")
)
CARRIAGE_RETURNS = PLAIN.replace(b"\n", b"\r\n")
AFTER_STOP = PLAIN + text(1, "more") + ERROR

# The five shapes in which usage arrives (F16): Anthropic's two, and those of compatible upstreams.
CACHED = {"cache_creation_input_tokens": 100, "cache_read_input_tokens": 8831, "input_tokens": 18}
SPLIT = {"cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}}
USAGE_IN_START_ONLY = start(**CACHED, **SPLIT) + text(0, "Hi") + end()
USAGE_REPEATED = start(**CACHED, **SPLIT) + text(0, "Hi") + end(usage={**CACHED, "output_tokens": 15})
USAGE_SPLIT_LATER = start(input_tokens=8949) + text(0, "Hi") + end(usage={**CACHED, "output_tokens": 15})
USAGE_INCLUSIVE = (
    start(input_tokens=0) + text(0, "Hi") + end(usage={**CACHED, "input_tokens": 8949, "output_tokens": 15})
)
USAGE_CUMULATIVE = (
    start(**CACHED)
    + text(0, "Hi")
    + event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 7})
    + end(usage={"output_tokens": 15, "cache_read_input_tokens": None})
)

WHOLE_LONG_INPUT = (
    start() + tool(0, "toolu_1", "pay", input={"wei": LONG}).replace(LONG_TEXT, LONG_DIGITS) + end("tool_use")
)
USAGE_AFTER_STOP = PLAIN.replace(b',"usage":{"output_tokens":15}', b"") + event(
    "message_delta", delta={}, usage={"output_tokens": 15}
)

COMPLETE = {
    "plain": PLAIN,
    "thinking": THINKING,
    "redacted": REDACTED,
    "tool": TOOL,
    "parallel_tools": PARALLEL_TOOLS,
    "interleaved_tools": INTERLEAVED_TOOLS,
    "empty_input": EMPTY_INPUT,
    "whole_input": WHOLE_INPUT,
    "reused_index": REUSED_INDEX,
    "server_tool": SERVER_TOOL,
    "refusal": REFUSAL,
    "newer_events": NEWER_EVENTS,
    "no_usage": NO_USAGE,
    "carriage_returns": CARRIAGE_RETURNS,
    "after_stop": AFTER_STOP,
    "usage_in_start_only": USAGE_IN_START_ONLY,
    "usage_repeated": USAGE_REPEATED,
    "usage_split_later": USAGE_SPLIT_LATER,
    "usage_inclusive": USAGE_INCLUSIVE,
    "usage_cumulative": USAGE_CUMULATIVE,
    "usage_after_stop": USAGE_AFTER_STOP,
    "whole_long_input": WHOLE_LONG_INPUT,
}
BROKEN = {
    "error_first": ERROR,
    "error_after_start": start() + ERROR,
    "error_later": start() + text(0, "Hi") + ERROR + end(),
    "cut_after_text": start() + text(0, "Hello there"),
    "cut_before_stop": PLAIN[: -len(STOP)],
    "cut_in_stop": PLAIN[:-1],
    "no_message_delta": start() + text(0, "Hi") + STOP,
    "nothing": b"",
    "html": b"<html>\n<body>Bad gateway</body>\n\n</html>",
    "garbage_event": start() + b"event: ping\ndata: {no json\n\n" + end(),
    "no_start": text(0, "Hi") + end(),
}
