import hashlib
from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic.response_format import BY_SCHEMA, ONE_OBJECT
from gateway.dialects.openai.chat_request import parse_chat
from gateway.dialects.pairs.chat_anthropic import ChatToAnthropic
from gateway.errors import InvalidRequest
from tests.gateway.dialects.anthropic.sdk_shape import require_sdk_shape
from tests.gateway.dialects.replay import chat

TRANSLATOR = ChatToAnthropic()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def hashed(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()


def sent(*, model: str = "claude-sonnet-4-5", limit: int = 4096, clamp: bool = True, **fields: Any) -> dict[str, Any]:
    request = chat(**fields)
    body = TRANSLATOR.request(request, upstream_model=model, max_output_tokens=limit, clamp=clamp)
    document: dict[str, Any] = orjson.loads(body)
    require_sdk_shape(document)
    return document


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        sent(**fields)
    return caught.value


def test_the_least_request_says_only_what_it_must() -> None:
    assert sent() == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize(
    ("fields", "clamp", "max_tokens"),
    [
        ({}, True, 4096),
        ({}, False, 4096),
        ({"max_tokens": 100}, False, 100),
        ({"max_completion_tokens": 200, "max_tokens": 200}, False, 200),
        ({"max_tokens": 9000}, True, 4096),
    ],
)
def test_max_tokens_is_the_clients_unless_it_is_clamped(fields: dict[str, Any], clamp: bool, max_tokens: int) -> None:
    assert sent(clamp=clamp, **fields)["max_tokens"] == max_tokens


PARAMETERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ({"stop": "END"}, {"stop_sequences": ["END"]}),
    ({"stop": ["A", "B"]}, {"stop_sequences": ["A", "B"]}),
    ({"stop": []}, {}),
    ({"temperature": 0}, {"temperature": 0}),
    ({"temperature": 0.7}, {"temperature": 0.7}),
    ({"temperature": 1}, {}),
    ({"temperature": 1.8}, {}),
    ({"top_p": 0.9}, {"top_p": 0.9}),
    ({"top_p": 1}, {}),
    ({"top_k": 40}, {"top_k": 40}),
    ({"user": "jane.roe@example.com"}, {"metadata": {"user_id": hashed("jane.roe@example.com")}}),
    ({"user": "u" * 300}, {"metadata": {"user_id": hashed("u" * 300)}}),
    ({"user": ""}, {}),
    ({"safety_identifier": "s-1", "user": "u-1"}, {"metadata": {"user_id": hashed("s-1")}}),
    ({"safety_identifier": "", "user": "u-1"}, {"metadata": {"user_id": hashed("u-1")}}),
    ({"metadata": {"user_id": "m-1", "trace": "x"}}, {"metadata": {"user_id": hashed("m-1")}}),
    ({"metadata": {"trace": "x"}}, {}),
    ({"service_tier": "auto"}, {"service_tier": "auto"}),
    ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    ({"container": "c-1"}, {"container": "c-1"}),
    ({"mcp_servers": []}, {"mcp_servers": []}),
    ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
    ({"context_management": {"edits": []}}, {"context_management": {"edits": []}}),
    ({"output_config": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
    ({"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "modalities": ["text"]}, {}),
    ({"presence_penalty": 0, "frequency_penalty": 0.0, "verbosity": "medium"}, {}),
    ({"seed": 7, "store": True, "prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"}}, {}),
    ({"prompt_cache_options": {"mode": "auto"}, "prompt_cache_retention": "24h"}, {}),
    ({"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}),
    ({"temperature": 0.2, "top_p": 1}, {"temperature": 0.2}),
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": {"type": "json_object"}}, {"system": [{"type": "text", "text": ONE_OBJECT}]}),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    ({"parallel_tool_calls": False}, {}),
    ({"tool_choice": "auto", "tools": []}, {}),
    ({"logprobs": None, "anything": None}, {}),
]


@pytest.mark.parametrize(("fields", "expected"), PARAMETERS)
def test_a_parameter_becomes_its_counterpart(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(**fields)

    assert {name: body[name] for name in body.keys() - {"model", "max_tokens", "messages"}} == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"verbosity": "low"}, "verbosity"),
        ({"functions": []}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"speed": "fast"}, "speed"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"service_tier": ["auto"]}, "service_tier"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["END", ""]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": 1}, "stop"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"user": 7}, "user"),
        ({"metadata": "x"}, "metadata"),
        ({"output_config": "x"}, "output_config"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"temperature": 0.2, "top_p": 0.9}, "top_p"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_anthropic_can_not_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize(
    "model", ["claude-opus-4-7", "claude-opus-4.8", "claude-sonnet-5", "claude-haiku-5-1", "claude-mythos-preview"]
)
@pytest.mark.parametrize("fields", [{"temperature": 0.2}, {"top_p": 0.9}, {"top_k": 5}])
def test_c2_what_the_newest_models_refuse_is_refused_before_the_first_attempt(
    model: str, fields: dict[str, Any]
) -> None:
    assert refused(model=model, **fields).param in fields
    assert sent(model=model, temperature=1, top_p=1)["model"] == model


@pytest.mark.parametrize(
    ("model", "last"), [("claude-sonnet-4-5", "assistant"), ("claude-sonnet-4-6", "user"), ("claude-haiku-5", "user")]
)
def test_c2_a_model_that_takes_no_beginning_of_its_answer_gets_a_users_turn(model: str, last: str) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]

    assert sent(model=model, messages=messages)["messages"][-1]["role"] == last


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-opus-4-5-20251101", "claude-3-5-haiku-latest", "glm-5"])
def test_other_models_take_a_temperature(model: str) -> None:
    assert sent(model=model, temperature=0.2)["temperature"] == 0.2


@pytest.mark.parametrize("fields", [{"temperature": 0.2}, {"top_p": 0.9}, {"top_k": 5}])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6"])
def test_c2_sampling_beside_thinking_is_refused_before_the_first_attempt(model: str, fields: dict[str, Any]) -> None:
    assert refused(model=model, reasoning_effort="high", **fields).param in fields
    assert sent(model=model, reasoning_effort="none", **fields).keys() >= fields.keys()
    assert sent(model=model, reasoning_effort="high", temperature=1, top_p=0.96)["top_p"] == 0.96


def test_reasoning_and_an_answer_schema_share_the_output_config() -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}

    body = sent(model="claude-sonnet-5", reasoning_effort="high", response_format=wanted)

    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "high"}


def test_f25_equal_requests_become_equal_bytes_and_the_document_is_left_alone() -> None:
    fields: dict[str, Any] = {
        "tools": [TOOL],
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {}}}},
    }
    request = chat(**fields)
    before = orjson.dumps(request.document)

    bodies = {
        TRANSLATOR.request(one, upstream_model="claude-sonnet-4-5", max_output_tokens=64, clamp=True)
        for one in (request, request, chat(**fields))
    }

    assert len(bodies) == 1
    assert orjson.dumps(request.document) == before


@pytest.mark.parametrize("stream", [False, True])
def test_c5_any_json_object_is_asked_for_in_words_after_the_clients_own(stream: bool) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]

    body = sent(messages=messages, stream=stream, response_format={"type": "json_object"})
    with_tools = sent(messages=messages, tools=[TOOL], response_format={"type": "json_object"})

    assert [block["text"] for block in body["system"]] == ["S", ONE_OBJECT]
    assert "output_config" not in body
    assert with_tools["system"][1]["text"].startswith(ONE_OBJECT)
    assert "call tools as usual" in with_tools["system"][1]["text"]


def test_c4_a_schema_that_has_no_grammar_is_a_hint_unless_it_is_strict() -> None:
    anything = {"type": "object", "additionalProperties": {"type": "string"}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": anything}}
    strict = {"type": "json_schema", "json_schema": {"name": "x", "schema": anything, "strict": True}}

    [instruction] = sent(response_format=wanted)["system"]

    assert instruction["text"] == ONE_OBJECT + BY_SCHEMA + orjson.dumps(anything).decode()
    assert refused(response_format=strict).param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("model", "has_grammar"),
    [
        ("claude-3-7-sonnet-latest", False),
        ("claude-sonnet-4-20250514", False),
        ("claude-opus-4-1", False),
        ("claude-sonnet-4-5-20250929", True),
        ("claude-opus-4.6", True),
        ("claude-haiku-5", True),
        ("something-compatible", True),
    ],
)
def test_c4_a_model_without_a_grammar_gets_the_schema_in_words(model: str, has_grammar: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

    body = sent(model=model, response_format=wanted)

    assert ("output_config" in body, "system" in body) == (has_grammar, not has_grammar)


def test_tools_that_the_history_has_called_are_named_when_the_request_has_none() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "U"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "x"},
    ]

    body = sent(messages=messages)

    assert body["tools"] == [{"name": "look", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert [tool["name"] for tool in sent(messages=messages, tools=[TOOL])["tools"]] == ["f"]


def test_a_body_nested_too_deeply_to_be_written_again_is_refused() -> None:
    deep = b'{"model":"m","messages":[{"role":"user","content":"x"}],"cache_control":' + b"[" * 300 + b"]" * 300 + b"}"

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        TRANSLATOR.request(parse_chat(deep), upstream_model="m", max_output_tokens=1, clamp=True)
