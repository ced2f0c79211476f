"""A streamed chat completion as Anthropic's events, cut at any byte."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.usage.token_usage import TokenUsage
from gateway.dialects.messages.from_chat_stream import ChatToMessagesStream
from gateway.dialects.openai.stream import OpenAIStream


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "model": "gpt", "object": "chat.completion.chunk", "choices": choices}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **more, "function": {"arguments": arguments, **more.pop("function", {})}}]}


def opened(index: int, name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": ""}
    return {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}


USAGE = {
    "choices": [],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
TEXT = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Grü"}),
    chunk({"content": "ße"}),
    chunk({}, "stop"),
]
TOOLS = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "Let me see."}),
    chunk(opened(0, "weather")),
    chunk(call(0, '{"city":')),
    chunk(call(0, ' "Rome"}')),
    chunk(opened(1, "traffic")),
    chunk(call(1, "{}")),
    chunk({}, "tool_calls"),
]


def sse(chunks: list[dict[str, Any]], *, usage: bool = True) -> bytes:
    events = [*chunks, *([USAGE] if usage else [])]
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


def stream() -> ChatToMessagesStream:
    return ChatToMessagesStream(OpenAIStream(wants_usage=False))


def events(text: bytes) -> list[dict[str, Any]]:
    found = []
    for event in text.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        found.append(document)
    return found


def content(found: list[dict[str, Any]]) -> list[Any]:
    """The blocks as an SDK puts them together."""
    blocks: dict[int, Any] = {}
    closed: set[int] = set()
    for event in found:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(blocks)
                blocks[event["index"]] = {**event["content_block"], "json": ""}
            case "content_block_delta":
                assert event["index"] not in closed
                delta, block = event["delta"], blocks[event["index"]]
                if delta["type"] == "text_delta":
                    block["text"] += delta["text"]
                else:
                    block["json"] += delta["partial_json"]
            case "content_block_stop":
                closed.add(event["index"])
    assert closed == set(blocks)
    return [
        block["text"] if block["type"] == "text" else (block["name"], json.loads(block["json"]))
        for block in blocks.values()
    ]


@pytest.mark.parametrize(
    ("chunks", "blocks", "reason"),
    [
        (TEXT, ["Grüße"], "end_turn"),
        (TOOLS, ["Let me see.", ("weather", {"city": "Rome"}), ("traffic", {})], "tool_use"),
        ([*TEXT[:2], chunk({}, "length")], ["Grü"], "max_tokens"),
        ([TEXT[0], chunk({"refusal": "No."}), chunk({}, "stop")], ["No."], "refusal"),
    ],
    ids=["text", "tools", "cut short", "refused"],
)
def test_an_answer_has_its_blocks_and_its_reason(chunks: list[dict[str, Any]], blocks: list[Any], reason: str) -> None:
    translated = stream()

    found = events(translated.feed(sse(chunks)))

    assert content(found) == blocks
    assert [event["type"] for event in (found[0], *found[-2:])] == ["message_start", "message_delta", "message_stop"]
    assert found[-2]["delta"]["stop_reason"] == reason
    assert found[-2]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 7,
    }
    assert translated.finished
    assert translated.usage == TokenUsage(input=5, cache_read=4, output=7)


@given(some.sampled_from([TEXT, TOOLS]), some.data())
def test_the_events_are_the_same_however_the_bytes_are_cut(chunks: list[dict[str, Any]], data: some.DataObject) -> None:
    text = sse(chunks)
    cuts = sorted(data.draw(some.sets(some.integers(1, len(text) - 1), max_size=6)))
    translated = stream()

    passed = b"".join(translated.feed(text[start:end]) for start, end in pairwise([0, *cuts, len(text)]))

    assert passed == stream().feed(text)


def test_an_answer_that_breaks_off_has_no_end() -> None:
    translated = stream()
    text = translated.feed(sse(TEXT, usage=False)[:-20]) + translated.end()

    assert b"message_stop" not in text
    assert translated.failure is not None
    assert translated.error_frame("It broke off.", "api_error", "upstream_error").startswith(b"event: error\ndata: ")


@pytest.mark.parametrize("calls", [True, 7, "x", [7], [{}], [{"index": "1"}], [{"function": None}]])
def test_tool_calls_that_are_none_break_nothing(calls: Any) -> None:
    translated = stream()

    found = events(translated.feed(sse([chunk({"tool_calls": calls}), *TEXT])))

    assert found[-1]["type"] == "message_stop"
