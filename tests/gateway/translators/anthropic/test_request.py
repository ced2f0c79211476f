from typing import Any

import orjson
import pytest

from gateway.chat_request import ChatRequest
from gateway.errors import InvalidRequest
from gateway.translators.openai_anthropic import OpenAIToAnthropic
from tests.gateway.translators.anthropic.sdk_shape import require_sdk_shape
from tests.gateway.translators.replay import chat

TRANSLATOR = OpenAIToAnthropic()
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


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
        ({"max_completion_tokens": 200, "max_tokens": 100}, False, 200),
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
    ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    ({"safety_identifier": "s-1", "user": "u-1"}, {"metadata": {"user_id": "s-1"}}),
    ({"metadata": {"user_id": "m-1", "trace": "x"}}, {"metadata": {"user_id": "m-1"}}),
    ({"metadata": {"trace": "x"}}, {}),
    ({"service_tier": "auto"}, {"service_tier": "auto"}),
    ({"service_tier": "default"}, {"service_tier": "standard_only"}),
    ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
    ({"container": "c-1"}, {"container": "c-1"}),
    ({"mcp_servers": []}, {"mcp_servers": []}),
    ({"context_management": {"edits": []}}, {"context_management": {"edits": []}}),
    ({"output_config": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
    ({"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "modalities": ["text"]}, {}),
    ({"presence_penalty": 0, "frequency_penalty": 0.0, "verbosity": "medium"}, {}),
    ({"seed": 7, "store": True, "prompt_cache_key": "k", "prediction": {"type": "content", "content": "x"}}, {}),
    ({"prompt_cache_options": {"mode": "auto"}, "prompt_cache_retention": "24h"}, {}),
    ({"response_format": {"type": "text"}}, {}),
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
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_anthropic_can_not_do_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


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


def test_a_schema_is_closed_where_it_leaves_objects_open() -> None:
    inner = {"type": "object", "properties": {"default": {"type": "object", "properties": {}}}}
    schema = {
        "type": "object",
        "properties": {"properties": inner, "list": {"type": "array", "items": inner}},
        "$defs": {"any": {"type": "object", "additionalProperties": True, "properties": {}}},
        "default": {"properties": {}},
        "anyOf": [{"properties": {}}, True],
    }

    body = sent(response_format={"type": "json_schema", "json_schema": {"schema": schema}})

    closed_inner = {
        "type": "object",
        "properties": {"default": {"type": "object", "properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }
    assert body["output_config"]["format"]["schema"] == {
        "type": "object",
        "properties": {"properties": closed_inner, "list": {"type": "array", "items": closed_inner}},
        "$defs": {"any": {"type": "object", "additionalProperties": True, "properties": {}}},
        "default": {"properties": {}},
        "anyOf": [{"properties": {}, "additionalProperties": False}, True],
        "additionalProperties": False,
    }


def test_a_schema_of_endless_depth_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"items": schema}

    assert (
        refused(response_format={"type": "json_schema", "json_schema": {"schema": schema}}).param == "response_format"
    )


def test_a_body_nested_too_deeply_to_be_written_again_is_refused() -> None:
    deep = b'{"model":"m","messages":[{"role":"user","content":"x"}],"container":' + b"[" * 300 + b"]" * 300 + b"}"

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        TRANSLATOR.request(ChatRequest.parse(deep), upstream_model="m", max_output_tokens=1, clamp=True)
