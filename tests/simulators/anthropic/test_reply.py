"""The official anthropic SDK against the simulator."""

from typing import Any

import anthropic as sdk
import pytest
from anthropic import Anthropic

from tests.harness.simulated_upstream import SimulatedUpstream

MODEL = "claude-haiku-4-5"
WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
LONG = "y" * 8000


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def cached(text: str, ttl: str = "5m") -> Any:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def test_an_answer_counts_a_token_per_four_bytes_of_prompt_and_per_word(
    anthropic: Anthropic, upstream: SimulatedUpstream
) -> None:
    answer = anthropic.messages.create(model=MODEL, max_tokens=100, messages=user("x" * 41))

    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 16)
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text"
    assert len(answer.content[0].text.split()) == 16


def test_a_stream_is_the_documented_sequence_of_events(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    events = list(anthropic.messages.create(model=MODEL, max_tokens=100, messages=user("[[sim words=2]]"), stream=True))

    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].type == "message_start"
    assert events[0].message.usage.output_tokens == 1
    assert events[5].type == "message_delta"
    assert events[5].usage.output_tokens == 2


def test_the_sdk_stream_helper_assembles_the_whole_answer(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    request: Any = {
        "model": MODEL,
        "max_tokens": 4000,
        "thinking": THINKING,
        "tools": [WEATHER],
        "messages": user("[[sim words=5 tools=2 thinking=7 redacted=1 chunk_words=2]]"),
    }
    whole = anthropic.messages.create(**request)
    with anthropic.messages.stream(**request) as stream:
        streamed = stream.get_final_message()

    kinds = ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert [block.type for block in streamed.content] == kinds
    assert [block.type for block in whole.content] == kinds
    assert [block.to_dict() for block in whole.content[:2]] == [block.to_dict() for block in streamed.content[:2]]
    assert [block.input for block in streamed.content if block.type == "tool_use"] == [
        block.input for block in whole.content if block.type == "tool_use"
    ]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.stop_reason == "tool_use"
    assert [call["reasoning_tokens"] for call in upstream.served()] == [7, 7]


def test_thinking_and_tool_use_are_accepted_back_as_they_came(
    anthropic: Anthropic, upstream: SimulatedUpstream
) -> None:
    request: Any = {"model": MODEL, "max_tokens": 4000, "thinking": THINKING, "tools": [WEATHER]}
    first = anthropic.messages.create(**request, messages=user("[[sim tools=2]]"))
    results: Any = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
        for block in first.content
        if block.type == "tool_use"
    ]

    second = anthropic.messages.create(
        **request,
        messages=[
            *user("[[sim tools=2]]"),
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ],
    )

    assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("stream", [False, True])
def test_a_cached_prefix_is_written_once_and_then_read(
    anthropic: Anthropic, upstream: SimulatedUpstream, stream: bool
) -> None:
    for text in ("first", "other"):
        with anthropic.messages.stream(model=MODEL, max_tokens=9, system=cached(LONG), messages=user(text)) as events:
            usage = events.get_final_message().usage

    assert usage.cache_read_input_tokens == 2000
    assert [
        (call["input_tokens"], call["cache_read_tokens"], call["cache_write_5m_tokens"]) for call in upstream.served()
    ] == [(2, 0, 2000), (2, 2000, 0)]


def test_cache_writes_are_split_by_lifetime(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    content: Any = [*cached(LONG, "1h"), *cached(LONG)]

    usage = anthropic.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": content}]).usage

    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_1h_input_tokens == 2000
    assert usage.cache_creation.ephemeral_5m_input_tokens == 2000
    assert usage.cache_creation_input_tokens == 4000


def test_a_short_prefix_is_not_cached(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    usage = anthropic.messages.create(model=MODEL, max_tokens=9, system=cached("short"), messages=user("x")).usage

    assert (usage.cache_creation_input_tokens, usage.input_tokens) == (0, 2)


@pytest.mark.parametrize(
    ("usage", "start", "end"),
    [
        ("normal", (2, 2000, 1), (None, None, 3)),
        ("repeat", (2, 2000, 1), (2, 2000, 3)),
        ("zero", (0, 0, 0), (None, None, 0)),
        ("late_split", (2002, None, 0), (2, 2000, 3)),
        ("inclusive", (2002, 2000, 1), (None, None, 3)),
        ("input_zero", (0, 2000, 1), (None, None, 3)),
    ],
)
def test_usage_is_reported_as_other_upstreams_do(
    anthropic: Anthropic, upstream: SimulatedUpstream, usage: str, start: Any, end: Any
) -> None:
    request: Any = {"model": MODEL, "max_tokens": 9, "system": cached(LONG), "stream": True}
    for _ in range(2):
        events = list(anthropic.messages.create(**request, messages=user(f"[[sim words=3 usage={usage}]]"[:40])))

    first, last = events[0].message.usage, events[-2].usage
    prompt = len(f"[[sim words=3 usage={usage}]]") + 8000
    tail = -(-prompt // 4) - 2000
    adjusted = {2: tail, 2002: 2000 + tail}
    assert (first.input_tokens, first.cache_read_input_tokens, first.output_tokens) == tuple(
        adjusted.get(value, value) for value in start
    )
    assert (last.input_tokens, last.cache_read_input_tokens, last.output_tokens) == tuple(
        adjusted.get(value, value) for value in end
    )


def test_stop_sequences_and_max_tokens_end_an_answer(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    text = user('[[sim text="one two three four"]]')
    stopped = anthropic.messages.create(model=MODEL, max_tokens=9, messages=text, stop_sequences=["three"])
    cut = anthropic.messages.create(model=MODEL, max_tokens=3, messages=text)

    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "three")
    assert cut.stop_reason == "max_tokens"
    assert cut.usage.output_tokens == 3


def test_structured_output_is_json(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    answer = anthropic.messages.create(
        model=MODEL,
        max_tokens=99,
        messages=user("x"),
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )

    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith('{"n":')


def test_counting_tokens_agrees_with_the_bill(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    request: Any = {"model": MODEL, "system": "be brief", "tools": [WEATHER], "messages": user("hello")}

    counted = anthropic.messages.count_tokens(**request).input_tokens

    assert counted == anthropic.messages.create(**request, max_tokens=5).usage.input_tokens


@pytest.mark.parametrize(
    ("directive", "error", "kind"),
    [
        ("status=400", sdk.BadRequestError, "invalid_request_error"),
        ("status=401", sdk.AuthenticationError, "authentication_error"),
        ("status=402 code=linked_organization_billing_unavailable", sdk.PaymentRequiredError, "billing_error"),
        ("status=403", sdk.PermissionDeniedError, "permission_error"),
        ("status=404", sdk.NotFoundError, "not_found_error"),
        ("status=408", sdk.RequestTimeoutError, "timeout_error"),
        ("status=409", sdk.ConflictError, "conflict_error"),
        ("status=429 code=enforced_spend_limit_reached", sdk.RateLimitError, "rate_limit_error"),
        ("status=500", sdk.InternalServerError, "api_error"),
        ("status=504", sdk.GatewayTimeoutError, "timeout_error"),
        ("status=529", sdk.OverloadedError, "overloaded_error"),
    ],
)
def test_errors_reach_the_sdk_as_its_classes(
    anthropic: Anthropic, upstream: SimulatedUpstream, directive: str, error: type[sdk.APIStatusError], kind: str
) -> None:
    with pytest.raises(error) as raised:
        anthropic.messages.create(model=MODEL, max_tokens=9, messages=user(f"[[sim {directive}]]"))

    assert raised.value.type == kind
    assert raised.value.request_id == upstream.refused()[0]["upstream_request_id"]


def test_an_error_inside_a_stream_raises(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    words: list[str] = []
    with (
        pytest.raises(sdk.APIStatusError, match="Overloaded"),
        anthropic.messages.stream(
            model=MODEL, max_tokens=99, messages=user("[[sim words=9 error_event=mid after=3]]")
        ) as stream,
    ):
        words.extend(stream.text_stream)

    assert len(words) == 3
    assert [(call["outcome"], call["output_tokens"]) for call in upstream.served()] == [("error", 3)]


def test_headers_and_versions_are_required(anthropic: Anthropic, lenient_upstream: SimulatedUpstream) -> None:
    with pytest.raises(sdk.BadRequestError, match="anthropic-version"):
        anthropic.messages.create(
            model=MODEL, max_tokens=9, messages=user("x"), extra_headers={"anthropic-version": "2020-01-01"}
        )
    with pytest.raises(sdk.AuthenticationError, match="invalid x-api-key"):
        anthropic.messages.create(model=MODEL, max_tokens=9, messages=user("x"), extra_headers={"x-api-key": "nope"})

    assert len(lenient_upstream.unexpected()) == 2


def test_c10_a_limit_beyond_the_window_is_refused_by_older_models_only(
    anthropic: Anthropic, lenient_upstream: SimulatedUpstream
) -> None:
    prompt = user("x" * 4 * 195_000)

    with pytest.raises(sdk.BadRequestError, match="exceed context limit: 195000 \\+ 8192 > 200000"):
        anthropic.messages.create(model="claude-3-5-haiku-test", max_tokens=8192, messages=prompt)

    assert anthropic.messages.create(model=MODEL, max_tokens=8192, messages=prompt).usage.input_tokens == 195_000


def test_thinking_can_go_on_after_the_text(anthropic: Anthropic, upstream: SimulatedUpstream) -> None:
    answer = anthropic.messages.create(
        model=MODEL,
        max_tokens=2000,
        thinking=THINKING,
        tools=[WEATHER],
        messages=user("[[sim words=2 tools=1 thinking=9 interleaved=1]]"),
    )

    assert [block.type for block in answer.content] == ["thinking", "text", "thinking", "tool_use"]
