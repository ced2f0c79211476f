"""`POST /v1/messages` with the official SDK, in front of Anthropic: events as they came, every token in the ledger."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic

from core.usage.usage_event import Outcome
from tests.gateway.served import booked_once
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream

MODEL = "claude-haiku-4-5"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def user(text: str) -> Any:
    return {"role": "user", "content": text}


@pytest.fixture
def client(gateway: RunningGateway, customer: Customer) -> Iterator[Anthropic]:
    url = gateway.openai_url.removesuffix("/v1")
    with Anthropic(api_key=customer.key, base_url=url, max_retries=0, timeout=20) as client:
        yield client


OPENAI = "gpt-4o-mini"
BOTH = pytest.mark.parametrize("model", [MODEL, OPENAI])


def ask(client: Anthropic, text: str, **more: Any) -> Any:
    return client.messages.create(**{"model": MODEL, "max_tokens": 1_000, "messages": [user(text)], **more})


@BOTH
def test_an_answer_arrives_and_is_booked_once(
    client: Anthropic, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    answer = ask(client, '[[sim text="Good morning to you"]]', model=model)

    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.content[0].text == "Good morning to you"
    [booked] = booked_once(shared, upstream, customer)
    assert answer.usage.input_tokens == booked.event.usage.input > 0
    assert answer.usage.output_tokens == booked.event.usage.output == 4
    assert (booked.event.outcome, booked.event.estimated) == (Outcome.COMPLETE, "")
    assert answer._request_id == str(booked.event.event_id)
    shared.assert_nothing_held()


@BOTH
def test_a_stream_arrives_whole_and_is_booked_once(
    client: Anthropic, model: str, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    question = user('[[sim text="One two three"]]')
    with client.messages.stream(model=model, max_tokens=1_000, messages=[question]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert text == "One two three"
    [booked] = booked_once(shared, upstream, customer)
    assert (booked.event.stream, booked.event.usage.output, booked.event.estimated) == (True, 3, "")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (booked.event.usage.input, 3)
    assert final.stop_reason == "end_turn"
    shared.assert_nothing_held()


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_thinking_come_as_anthropic_has_them(
    client: Anthropic, shared: Installation, upstream: SimulatedUpstream, customer: Customer, stream: bool
) -> None:
    common: Any = {
        "model": MODEL,
        "max_tokens": 4_000,
        "tools": [WEATHER],
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "messages": [user("[[sim tools=1 thinking=20 words=3]] go")],
    }
    if stream:
        with client.messages.stream(**common) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**common)

    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use"]
    assert answer.content[0].signature
    assert answer.content[2].name == "weather"
    assert answer.stop_reason == "tool_use"
    booked_once(shared, upstream, customer)


@BOTH
def test_the_turn_with_a_tools_result_and_a_picture_goes_on(client: Anthropic, model: str) -> None:
    first = ask(client, "[[sim tools=1 words=3]] go", tools=[WEATHER], model=model)
    call = first.content[-1]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sun"}, picture]}
    messages: Any = [
        user("[[sim tools=1 words=3]] go"),
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result, {"type": "text", "text": "[[sim words=2]] and now?"}]},
    ]

    answer = client.messages.create(model=model, max_tokens=100, tools=[WEATHER], messages=messages)

    assert answer.stop_reason == "end_turn"


def test_a_field_of_a_beta_goes_with_its_beta(client: Anthropic) -> None:
    """As Claude Code asks, which names betas that the models file does not allow as well."""
    more: Any = {
        "extra_headers": {"anthropic-beta": "claude-code-20250219,context-management-2025-06-27"},
        "extra_query": {"beta": "true"},
        "extra_body": {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
    }

    assert ask(client, "[[sim words=2]]", **more).stop_reason == "end_turn"


def test_what_is_cached_is_booked_in_its_class(
    client: Anthropic, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    system: Any = [{"type": "text", "text": "Be brief. " * 2_000, "cache_control": {"type": "ephemeral"}}]

    answers = [ask(client, "[[sim words=2]]", system=system) for _ in range(2)]

    assert answers[0].usage.cache_creation_input_tokens > 0
    assert answers[1].usage.cache_read_input_tokens == answers[0].usage.cache_creation_input_tokens
    booked_once(shared, upstream, customer, 2)


def test_what_is_left_of_the_limits_is_told_in_anthropics_words(gateway: RunningGateway, shared: Installation) -> None:
    customer = shared.customer()
    url = gateway.openai_url + "/messages"
    body = {"model": MODEL, "max_tokens": 10, "messages": [user("[[sim words=2]]")]}

    answer = httpx.post(url, json=body, headers={"x-api-key": customer.key}, timeout=20)

    assert answer.status_code == 200
    assert int(answer.headers["anthropic-ratelimit-requests-remaining"]) >= 0
    assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert "x-ratelimit-limit-requests" not in answer.headers
    assert answer.headers["request-id"]


@pytest.mark.parametrize(
    ("make", "kind", "type"),
    [
        (lambda client: ask(client, "Hi", model="no-such-model"), anthropic.NotFoundError, "not_found_error"),
        (lambda client: ask(client, "Hi", max_tokens=0), anthropic.BadRequestError, "invalid_request_error"),
        (lambda client: ask(client, "Hi", messages=[]), anthropic.BadRequestError, "invalid_request_error"),
        (
            lambda client: ask(client, "Hi", tools=[{"type": "web_search_20250305", "name": "web_search"}]),
            anthropic.BadRequestError,
            "invalid_request_error",
        ),
        (lambda client: ask(client, "[[sim status=529]]"), anthropic.APIStatusError, "overloaded_error"),
        (
            lambda client: ask(client.with_options(api_key="pk_live_wrong"), "Hi"),
            anthropic.AuthenticationError,
            "authentication_error",
        ),
    ],
    ids=["unknown model", "no output", "no messages", "a tool that costs", "overloaded", "a wrong key"],
)
def test_every_refusal_is_said_in_anthropics_words(
    client: Anthropic, make: Any, kind: type[anthropic.APIStatusError], type: str
) -> None:
    with pytest.raises(kind) as refused:
        make(client)

    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", type)
    assert body["error"]["message"]
    assert refused.value.request_id == body["request_id"]


@pytest.mark.parametrize("stream", [False, True])
def test_several_tools_of_a_model_of_openai_come_as_blocks(
    client: Anthropic, shared: Installation, upstream: SimulatedUpstream, customer: Customer, stream: bool
) -> None:
    common: Any = {
        "model": OPENAI,
        "max_tokens": 1_000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [WEATHER, {**WEATHER, "name": "traffic"}],
        "tool_choice": {"type": "any"},
        "messages": [user("[[sim tools=2 words=3]] go")],
    }
    if stream:
        with client.messages.stream(**common) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**common)

    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather", "traffic"]
    assert [set(call.input) for call in calls] == [{"city"}, {"city"}]
    assert len({call.id for call in calls}) == 2
    assert answer.stop_reason == "tool_use"
    booked_once(shared, upstream, customer)


@pytest.mark.parametrize(
    "asked",
    [
        {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]},
        {"stop_sequences": ["a", "b", "c", "d", "e"]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    ],
)
def test_what_openai_has_no_words_for_is_refused(client: Anthropic, asked: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(model=OPENAI, max_tokens=9, messages=[user("Hi")], extra_body=asked)

    body: Any = refused.value.body
    assert body["error"]["details"]["error_code"] == "unsupported_parameter"


@BOTH
async def test_an_upstream_that_dies_in_a_stream_ends_it_with_an_error_event(
    gateway: RunningGateway, shared: Installation, customer: Customer, model: str
) -> None:
    body = {
        "model": model,
        "max_tokens": 500,
        "stream": True,
        "messages": [user("[[sim words=30 pause_ms=5 cut=reset after=10]]")],
    }
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.post(gateway.openai_url + "/messages", json=body, headers=customer.headers)

    *_, last = answer.text.strip().split("\n\n")
    assert last.startswith("event: error\ndata: ")
    assert "message_stop" not in answer.text
    [booked] = await asyncio.to_thread(shared.wait_events, customer, 1)
    assert booked.event.outcome is Outcome.UPSTREAM_FAILED
    assert booked.event.usage.output > 0
