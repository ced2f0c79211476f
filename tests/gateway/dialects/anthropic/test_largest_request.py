"""
A request may hold 200,000 values, an answer 64 MiB, and all others wait while one is translated. Guards against S7 and
S21: with work that grew with the square of its parts, 300 KB of one customer kept a gateway busy for seconds, and 2 MB
for minutes.
"""

import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.dialects.pairs.chat_openai import ChatToOpenAI
from gateway.dialects.translator import MalformedAnswer
from tests.gateway.dialects.replay import chat

MAX_CPU_SECONDS = 5.0
"""Each takes a fraction of a second; with work that grows with the square, the fastest took three times as long."""
MANY = 30_000
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def asked_with(assistant: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", **assistant}, *more]}


def thoughts() -> list[dict[str, Any]]:
    block = {"type": "thinking", "thinking": "t", "signature": "s"}
    return [{**block, "after": {"characters": number + 1}} for number in range(MANY)]


def chain_of_definitions() -> dict[str, Any]:
    links = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(MANY)}
    properties = {"p": {"$ref": "#/$defs/d0"}}
    return {"type": "object", "properties": properties, "$defs": {**links, f"d{MANY}": {"type": "string"}}}


RESULT = {"role": "tool", "tool_call_id": "a", "content": "1"}
LARGEST: dict[str, Callable[[], dict[str, Any]]] = {
    "calls by one id": lambda: asked_with({"tool_calls": [CALL] * MANY}, *[RESULT] * MANY),
    "thoughts in many texts": lambda: asked_with(
        {"content": [{"type": "text", "text": "ab"}] * MANY, "thinking_blocks": thoughts()}
    ),
    "thoughts in a long text": lambda: asked_with({"content": "x" * 20_000_000, "thinking_blocks": thoughts()}),
    "a chain of definitions": lambda: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": chain_of_definitions()}}
    },
}


@pytest.mark.parametrize("fields", LARGEST.values(), ids=LARGEST.keys())
def test_s7_the_largest_requests_keep_nobody_waiting(fields: Callable[[], dict[str, Any]]) -> None:
    request = chat(**fields())
    began = time.process_time()

    ChatToAnthropic().request(request, upstream_model="claude-sonnet-4-5", max_output_tokens=4096, clamp=True)

    assert time.process_time() - began < MAX_CPU_SECONDS


def test_s21_an_answer_of_very_many_blocks_keeps_nobody_waiting() -> None:
    texts = [{"type": "text", "text": "a"}] * 200_000
    thoughts = [{"type": "thinking", "thinking": "t", "signature": "s"}] * MANY
    body = orjson.dumps({"content": [*texts, *thoughts], "stop_reason": "end_turn"})
    began = time.process_time()

    ChatToAnthropic().answer(chat(), body, created=0)

    assert time.process_time() - began < MAX_CPU_SECONDS


def test_s21_an_error_as_long_as_an_answer_keeps_nobody_waiting() -> None:
    """Under status 200 an error may be as long as any answer; what nobody is shown is not searched for keys."""
    body = orjson.dumps({"error": {"message": "key-1 " * 10_000_000}})
    began = time.process_time()

    with pytest.raises(MalformedAnswer) as caught:
        ChatToOpenAI().answer(chat(), body, created=0)

    assert len(caught.value.failure.message) == 1_000
    assert time.process_time() - began < MAX_CPU_SECONDS / 5
