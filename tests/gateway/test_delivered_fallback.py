"""
E1 = C2: while Claude is down, the delivered `dex-default` has GPT answer whatever was written for Claude.

Real gateway with deploy/models.toml, simulated providers as strict as the real ones.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import deploy
from tests.gateway.wire import chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream

DOWN = "hello [[sim status=529 model=anthropic]]"
CALL = {"id": "c_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CIRCLE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["next"],
    "additionalProperties": False,
}
CACHED = {"cache_control": {"type": "ephemeral"}}
USER = {"role": "user", "content": DOWN}
THOUGHT = {
    "reasoning_content": "Hm",
    "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}],
}


@pytest.fixture(scope="module")
def delivered(shared: Installation, upstream: SimulatedUpstream) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway(
        {
            "GATEWAY_MODELS_FILE": str(Path(deploy.__file__).parent / "models.toml"),
            "OPENAI_UPSTREAM_URL": f"{upstream.url}/openai",
            "ANTHROPIC_UPSTREAM_URL": f"{upstream.url}/anthropic",
            "OPENAI_API_KEY": "sk-sim-openai",
            "ANTHROPIC_API_KEY": "sk-sim-anthropic",
        }
    )
    yield gateway
    gateway.stop()


def ask(gateway: RunningGateway, customer: Customer, **fields: Any) -> httpx.Response:
    body = {"model": "dex-default", "messages": [USER], **fields}
    return httpx.post(f"{gateway.openai_url}/chat/completions", json=body, headers=customer.headers, timeout=30)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 100},
        {"max_completion_tokens": 100},
        {"temperature": 0.3},
        {"top_p": 0.9},
        {"top_k": 5},
        {"max_tokens": 3_000, "thinking": {"type": "enabled", "budget_tokens": 2_000}},
        {"reasoning": {"effort": "low", "exclude": True}},
        {"reasoning_effort": "max"},
        {"cache_control": {"type": "ephemeral"}},
        {"service_tier": "standard_only"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": DOWN, **CACHED}]}]},
        {"messages": [{"role": "system", "content": "Be brief", **CACHED}, USER], "tools": [{**TOOL, **CACHED}]},
        {"messages": [USER, {"role": "assistant", "content": "Hi", "refusal": None, **THOUGHT}, USER]},
        {
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": None, "tool_calls": [CALL], **THOUGHT},
                {"role": "tool", "tool_call_id": "c_1", "content": "no", "is_error": True},
                USER,
            ],
            "tools": [TOOL],
        },
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_was_written_for_claude_is_answered_by_gpt(
    delivered: RunningGateway, customer: Customer, fields: dict[str, Any], stream: bool
) -> None:
    answer = ask(delivered, customer, stream=stream, **fields)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-poindexter-target"] == "openai/gpt-5"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"temperature": 0.3, "top_p": 0.9},
        {"temperature": 0.3, "reasoning_effort": "high", "max_tokens": 4_000},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": CIRCLE}}},
    ],
)
def test_what_claude_refuses_is_answered_by_gpt_though_claude_is_up(
    delivered: RunningGateway, customer: Customer, fields: dict[str, Any]
) -> None:
    answer = ask(delivered, customer, messages=[{"role": "user", "content": "hello"}], **fields)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-poindexter-target"] == "openai/gpt-5"


def test_what_claude_can_not_be_left_without_is_told_as_claudes_outage(
    delivered: RunningGateway, customer: Customer
) -> None:
    schema = {"type": "json_schema", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}

    answer = ask(delivered, customer, output_config={"format": schema})

    assert answer.status_code == 503, answer.text  # A client that waits and asks again is served.


async def test_the_answer_of_the_fallback_is_charged_by_its_own_report(
    delivered: RunningGateway, shared: Installation, customer: Customer
) -> None:
    async with wire(delivered.port) as client:
        await client.send(chat(customer, DOWN, model="dex-default", max_tokens=100))
        _, answer = await client.answer()

    [booked] = shared.wait_events(customer, 1)
    assert booked.event.usage.completion == answer["usage"]["completion_tokens"], json.dumps(answer)
    assert booked.event.estimated == ""
