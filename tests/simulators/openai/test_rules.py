"""What OpenAI refuses, sentence by sentence."""

from typing import Any

import pytest

from simulators.answers.models import OPENAI, find
from simulators.faults.refusals import Refused
from simulators.openai.rules import check, check_shape

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "hello"}
ASKS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWERS = {"role": "tool", "tool_call_id": "call_1", "content": "done"}
OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
OPTIONAL_SCHEMA = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [USER], **fields}


def refusal(body: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        accept(body)
    return raised.value


def accept(body: Any) -> None:
    check_shape(body)
    family = find(OPENAI, body["model"])
    assert family is not None
    check(body, family)


def structured(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"foo": 1}, "unknown_parameter", "foo"),
        ({"max_token": 1}, "unknown_parameter", "max_token"),
        ({"system": "x"}, "unknown_parameter", "system"),
        ({"temperature": 2.1}, "decimal_above_max_value", "temperature"),
        ({"temperature": "1"}, "invalid_type", "temperature"),
        ({"top_p": -0.1}, "decimal_below_min_value", "top_p"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": 129}, "integer_above_max_value", "n"),
        ({"n": 1.5}, "invalid_type", "n"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
        ({"max_tokens": 16_385}, "invalid_value", "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "invalid_parameter_combination", "max_tokens"),
        ({"stop": ["a"] * 5}, "array_above_max_length", "stop"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"stream": True, "stream_options": {"usage": True}}, "unknown_parameter", "stream_options.usage"),
        ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "integer_above_max_value", "logit_bias.5"),
        ({"metadata": {"a" * 65: "b"}}, "string_above_max_length", "metadata"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"reasoning_effort": "low"}, "unknown_parameter", "reasoning_effort"),
        ({"verbosity": "low"}, "unsupported_value", "verbosity"),
        ({"prompt_cache_key": "k" * 65}, "string_above_max_length", "prompt_cache_key"),
        ({"model": "gpt-5", "stop": "a"}, "unsupported_parameter", "stop"),
        ({"model": "gpt-5.4-mini", "stop": ["a"]}, "unsupported_parameter", "stop"),
        ({"model": "o3", "stop": "a"}, "unsupported_parameter", "stop"),
        ({"service_tier": "gold"}, "invalid_value", "service_tier"),
        ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
        ({"parallel_tool_calls": True}, "invalid_value", "parallel_tool_calls"),
        ({"tools": [TOOL], "tool_choice": "any"}, "invalid_value", "tool_choice"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "missing_required_parameter", "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "invalid_function_parameters",
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": OPEN_SCHEMA}}]},
            "invalid_function_parameters",
            "tools[0].function.parameters",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "invalid_value",
            "tool_choice",
        ),
        ({"response_format": {"type": "json"}}, "invalid_value", "response_format.type"),
        ({"response_format": {"type": "json_object"}}, None, "messages"),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "response_format.json_schema",
        ),
        ({"response_format": structured(OPEN_SCHEMA)}, None, "response_format"),
        ({"response_format": structured(OPTIONAL_SCHEMA)}, None, "response_format"),
        ({"modalities": ["text", "audio"]}, "missing_required_parameter", "audio"),
        ({"model": "gpt-5", "max_tokens": 5}, "unsupported_parameter", "max_tokens"),
        ({"model": "o3", "temperature": 0.5}, "unsupported_value", "temperature"),
    ],
)
def test_a_setting_is_refused_by_name(fields: dict[str, Any], code: str | None, param: str) -> None:
    refused = refusal(request(**fields))

    assert (refused.status, refused.code, refused.param) == (400, code, param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "human", "content": "x"}], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": "x", "cache_control": {}}], "messages[0].cache_control"),
        ([{"role": "user", "content": [{"type": "image", "source": {}}]}], "messages[0].content[0].type"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x"}]}],
            "messages[0].content[0].image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}],
            "messages[0].content[0].image_url.url",
        ),
        ([{"role": "system", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content[0].type"),
        ([USER, {"role": "assistant"}], "messages.[1].content"),
        ([USER, {"role": "assistant", "content": "x", "tool_calls": []}], "messages[1].tool_calls"),
        ([USER, {**ASKS, "tool_calls": [{"id": "a", "function": {}}]}], "messages[1].tool_calls[0].type"),
        ([USER, ASKS], "messages.[1].role"),
        ([USER, ASKS, USER], "messages.[1].role"),
        ([USER, ANSWERS], "messages.[1].role"),
        ([USER, ASKS, {**ANSWERS, "tool_call_id": "call_2"}], "messages.[2].tool_call_id"),
        ([USER, ASKS, {"role": "tool", "content": "x"}], "messages[2].tool_call_id"),
        ([USER, ASKS, ANSWERS, ANSWERS], "messages.[3].tool_call_id"),
    ],
)
def test_a_conversation_out_of_order_is_refused(messages: list[Any], param: str) -> None:
    assert refusal(request(messages=messages)).param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "developer", "content": "x"}, USER, ASKS, ANSWERS, USER], "tools": [TOOL]},
        {"messages": [{**USER, "name": "ada"}], "temperature": 0, "top_p": 1.0, "n": 2, "seed": 5, "user": "u"},
        {"max_completion_tokens": None, "stop": None, "logit_bias": {"50256": -100}},
        {"model": "gpt-5", "reasoning_effort": "minimal", "max_completion_tokens": 5, "verbosity": "low"},
        {"response_format": structured({**OPEN_SCHEMA, "additionalProperties": False})},
    ],
)
def test_what_the_provider_takes_is_taken(fields: dict[str, Any]) -> None:
    accept(request(**fields))


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert refusal(body).code == "invalid_type"


def test_an_unknown_argument_is_named_in_the_provider_s_words() -> None:
    assert refusal(request(foo=1)).message == "Unrecognized request argument supplied: foo"


@pytest.mark.parametrize(
    "fields",
    [
        {"verbosity": "medium"},
        {"model": "gpt-5", "verbosity": "low"},
        {"model": "gpt-5", "stop": None},
        {"model": "gpt-5.5", "stop": "a"},
        {"model": "gpt-6-astra", "stop": "a"},
        {"prompt_cache_key": "k" * 64},
    ],
)
def test_what_only_some_models_refuse_is_taken_by_the_others(fields: dict[str, Any]) -> None:
    accept(request(**fields))


def test_the_id_of_a_tool_call_has_at_most_40_characters() -> None:
    def conversation(id: str) -> dict[str, Any]:
        messages = [USER, {**ASKS, "tool_calls": [{**CALL, "id": id}]}, {**ANSWERS, "tool_call_id": id}]
        return request(messages=messages)

    accept(conversation("c" * 40))

    assert refusal(conversation("c" * 41)).code == "string_above_max_length"
