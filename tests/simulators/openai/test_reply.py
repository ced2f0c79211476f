"""The official openai SDK against the simulator."""

import json
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.harness.simulated_upstream import SimulatedUpstream

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}

STRICT_WEATHER: Any = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}


class City(BaseModel):
    name: str
    population: int


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_an_answer_counts_a_token_per_four_bytes_of_prompt_and_per_word(
    openai: OpenAI, upstream: SimulatedUpstream
) -> None:
    answer = openai.chat.completions.create(model="gpt-4o", messages=user("x" * 41))

    assert answer.usage is not None
    assert answer.choices[0].message.content is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 5 + 11)
    assert len(answer.choices[0].message.content.split()) == 16
    assert answer.choices[0].finish_reason == "stop"


def test_the_same_request_is_answered_the_same_way(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    first, second = (openai.chat.completions.create(model="gpt-4o", messages=user("hello")) for _ in range(2))

    assert first.choices == second.choices
    assert first.id != second.id


def test_a_stream_says_what_the_whole_answer_says(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    whole = openai.chat.completions.create(model="gpt-4o", messages=user("hello [[sim chunk_words=3]]"))
    chunks = list(
        openai.chat.completions.create(
            model="gpt-4o",
            messages=user("hello [[sim chunk_words=3]]"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_text_survives_whatever_it_holds(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    text = "data: [DONE] 'usage': {} \u2028 h\u00e9llo \U0001f600 \\n end"
    messages = user(f'[[sim text="{text}"]]')

    chunks = openai.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
    whole = openai.chat.completions.create(model="gpt-4o", messages=messages)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert whole.choices[0].message.content == text.replace("\\\\", "\\")


def test_usage_is_not_streamed_unless_asked_for(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    with openai.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=user("hello"), stream=True
    ) as answer:
        body = answer.read()

    assert b'"usage"' not in body
    assert b'"finish_reason":null}]}\n\n' in body
    assert body.endswith(b"data: [DONE]\n\n")


def test_the_sdk_stream_helper_assembles_parallel_tool_calls(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    with openai.chat.completions.stream(
        model="gpt-4o",
        messages=user("[[sim tools=3]]"),
        tools=[STRICT_WEATHER],
    ) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]

    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    assert len({call.id for call in choice.message.tool_calls}) == 3
    for call in choice.message.tool_calls:
        assert 1 <= json.loads(call.function.arguments)["days"] <= 5


def test_a_forced_tool_is_called_and_its_answer_accepted(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    asked = openai.chat.completions.create(
        model="gpt-4o", messages=user("weather?"), tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    ).choices[0]
    assert asked.message.tool_calls is not None
    call = asked.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages: Any = [*user("weather?"), asked.message, result]

    answer = openai.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])

    assert asked.finish_reason == "tool_calls"
    assert answer.choices[0].message.content


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, "tool_calls"),
        ("required", "tool_calls"),
        ("none", "stop"),
    ],
)
def test_a_tool_that_is_forced_by_name_ends_with_stop(
    openai: OpenAI, upstream: SimulatedUpstream, choice: Any, reason: str
) -> None:
    answer = openai.chat.completions.create(model="gpt-4o", messages=user("x"), tools=[WEATHER], tool_choice=choice)

    assert bool(answer.choices[0].message.tool_calls) == (choice != "none")
    assert answer.choices[0].finish_reason == reason


def test_a_custom_tool_gets_text(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    tool: Any = {"type": "custom", "custom": {"name": "run"}}

    answer = openai.chat.completions.create(model="gpt-4o", messages=user("x"), tools=[tool], tool_choice="required")

    assert answer.choices[0].message.tool_calls is not None
    call = answer.choices[0].message.tool_calls[0]
    assert call.type == "custom"
    assert len(call.custom.input.split()) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_satisfies_its_schema(openai: OpenAI, upstream: SimulatedUpstream, stream: bool) -> None:
    if stream:
        with openai.chat.completions.stream(model="gpt-4o", messages=user("x"), response_format=City) as events:
            answer = events.until_done().get_final_completion()
    else:
        answer = openai.chat.completions.parse(model="gpt-4o", messages=user("x"), response_format=City)

    assert isinstance(answer.choices[0].message.parsed, City)


def test_json_mode_answers_an_object(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    answer = openai.chat.completions.create(
        model="gpt-4o", messages=user("as json"), response_format={"type": "json_object"}
    )

    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_max_tokens_and_stop_end_an_answer(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    text = '[[sim text="one two three four"]]'
    cut = openai.chat.completions.create(model="gpt-4o", messages=user(text), max_tokens=2)
    stopped = openai.chat.completions.create(model="gpt-4o", messages=user(text), stop=["never", " three"])

    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("one two", "length")
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("one two", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_n_choices_are_billed_together(openai: OpenAI, upstream: SimulatedUpstream, stream: bool) -> None:
    openai.chat.completions.create(model="gpt-4o", messages=user("[[sim words=7]]"), n=3)
    chunks = openai.chat.completions.create(
        model="gpt-4o", messages=user("[[sim words=7]]"), n=3, stream=True, stream_options={"include_usage": True}
    )

    *_, last = chunks
    assert last.usage is not None
    assert last.usage.completion_tokens == 21
    assert [call["output_tokens"] for call in upstream.served()] == [21, 21]


def test_logprobs_come_one_per_token(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    answer = openai.chat.completions.create(
        model="gpt-4o", messages=user("[[sim words=4]]"), logprobs=True, top_logprobs=3
    )

    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(token.top_logprobs) for token in logprobs.content] == [3] * 4


def test_reasoning_tokens_are_part_of_the_completion(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    answer = openai.chat.completions.create(
        model="gpt-5", messages=user("[[sim words=4]]"), reasoning_effort="low", max_completion_tokens=18
    )

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 18
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 16
    assert answer.choices[0].finish_reason == "length"
    assert (upstream.served()[0]["output_tokens"], upstream.served()[0]["reasoning_tokens"]) == (2, 16)


def test_a_second_long_prompt_reads_the_cache(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    prompt = user("z" * 6000)
    usages = [openai.chat.completions.create(model="gpt-4o", messages=prompt).usage for _ in range(2)]

    cached = [usage.prompt_tokens_details.cached_tokens for usage in usages if usage and usage.prompt_tokens_details]
    assert cached == [0, 1408]
    assert [(call["input_tokens"], call["cache_read_tokens"]) for call in upstream.served()] == [(1500, 0), (92, 1408)]


def test_an_image_counts_85_tokens(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    content: Any = [
        {"type": "text", "text": "abcd"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]

    answer = openai.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])

    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 86


@pytest.mark.parametrize(
    ("directive", "error", "code"),
    [
        ("status=400", sdk.BadRequestError, "invalid_request"),
        ("status=401", sdk.AuthenticationError, "invalid_api_key"),
        ("status=403", sdk.PermissionDeniedError, "unsupported_country_region_territory"),
        ("status=404", sdk.NotFoundError, "model_not_found"),
        ("status=409", sdk.ConflictError, "conflict"),
        ("status=429", sdk.RateLimitError, "rate_limit_exceeded"),
        ("status=429 code=insufficient_quota", sdk.RateLimitError, "insufficient_quota"),
        ("status=500", sdk.InternalServerError, None),
        ("status=503", sdk.InternalServerError, "server_is_overloaded"),
    ],
)
def test_errors_reach_the_sdk_as_its_classes(
    openai: OpenAI, upstream: SimulatedUpstream, directive: str, error: type[sdk.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        openai.chat.completions.create(model="gpt-4o", messages=user(f"[[sim {directive}]]"))

    assert raised.value.code == code
    assert raised.value.request_id == upstream.refused()[0]["upstream_request_id"]
    assert upstream.served() == []


def test_spend_limits_are_told_from_rate_limits_by_type(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    types = []
    for code in ("rate_limit_exceeded", "organization_spend_limit_exceeded"):
        with pytest.raises(sdk.RateLimitError) as raised:
            openai.chat.completions.create(model="gpt-4o", messages=user(f"[[sim status=429 code={code}]]"))
        types.append(raised.value.type)

    assert types == ["requests", "insufficient_quota"]


def test_the_sdk_retries_what_the_script_lets_it_retry(openai: OpenAI, upstream: SimulatedUpstream) -> None:
    patient = openai.with_options(max_retries=2)

    answer = patient.chat.completions.create(
        model="gpt-4o", messages=user("[[sim status=429 retry_after_ms=1 times=2 id=retries]]")
    )

    assert answer.choices[0].message.content
    assert len(upstream.refused(status="429")) == 2
    assert len(upstream.served()) == 1


def test_models_are_listed_and_unknown_ones_are_not_found(openai: OpenAI, lenient_upstream: SimulatedUpstream) -> None:
    assert "gpt-4o" in [model.id for model in openai.models.list()]
    assert openai.models.retrieve("gpt-4o-2024-11-20").id == "gpt-4o-2024-11-20"

    with pytest.raises(sdk.NotFoundError):
        openai.chat.completions.create(model="no-such-model", messages=user("x"))
    assert [call["code"] for call in lenient_upstream.unexpected()] == ["model_not_found"]


@pytest.mark.parametrize("header", ["Bearer sk-wrong", "Basic c2s6"])
def test_a_wrong_key_is_refused(openai: OpenAI, lenient_upstream: SimulatedUpstream, header: str) -> None:
    with pytest.raises(sdk.AuthenticationError):
        openai.chat.completions.create(model="gpt-4o", messages=user("x"), extra_headers={"authorization": header})


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (1_000, "you requested 16600 tokens (15600 in the messages, 1000 in the completion)"),
        (785, None),
        (None, None),
    ],
)
def test_c10_prompt_and_limit_must_fit_the_window_together(
    openai: OpenAI, lenient_upstream: SimulatedUpstream, limit: int | None, said: str | None
) -> None:
    fields: dict[str, Any] = {} if limit is None else {"max_tokens": limit}
    if said is None:
        openai.chat.completions.create(model="gpt-3.5-turbo", messages=user("x" * 62_400), **fields)
        return

    with pytest.raises(sdk.BadRequestError, match="maximum context length is 16385") as caught:
        openai.chat.completions.create(model="gpt-3.5-turbo", messages=user("x" * 62_400), **fields)

    assert caught.value.code == "context_length_exceeded"
    assert said in caught.value.message
