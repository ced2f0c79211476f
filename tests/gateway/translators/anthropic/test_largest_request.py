"""
A body may hold 200,000 values, and all others wait while one is translated. Guards against S7: with work that grew with
the square of a request's parts, 300 KB of one customer kept a gateway busy for seconds, and 2 MB for minutes.
"""

import time
from typing import Any

import pytest

from gateway.translators.openai_anthropic import OpenAIToAnthropic
from tests.gateway.translators.replay import chat

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
LARGEST: dict[str, dict[str, Any]] = {
    "calls by one id": asked_with({"tool_calls": [CALL] * MANY}, *[RESULT] * MANY),
    "thoughts in many texts": asked_with(
        {"content": [{"type": "text", "text": "ab"}] * MANY, "thinking_blocks": thoughts()}
    ),
    "thoughts in a long text": asked_with({"content": "x" * 20_000_000, "thinking_blocks": thoughts()}),
    "a chain of definitions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": chain_of_definitions()}}
    },
}


@pytest.mark.parametrize("fields", LARGEST.values(), ids=LARGEST)
def test_s7_the_largest_requests_keep_nobody_waiting(fields: dict[str, Any]) -> None:
    request = chat(**fields)
    began = time.process_time()

    OpenAIToAnthropic().request(request, upstream_model="claude-sonnet-4-5", max_output_tokens=4096, clamp=True)

    assert time.process_time() - began < MAX_CPU_SECONDS
