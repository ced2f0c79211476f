"""What Anthropic refuses, sentence by sentence."""

from typing import Any

import pytest

from simulators.answers.models import ANTHROPIC, find
from simulators.anthropic.conversation import check_conversation, sign
from simulators.anthropic.rules import check, check_shape
from simulators.anthropic.schema import MESSAGES_REQUEST
from simulators.anthropic.versions import check as check_for_version
from simulators.anthropic.versions import check_version
from simulators.faults.refusals import Refused

TOOL = {"name": "f", "input_schema": {"type": "object"}}
USER = {"role": "user", "content": "hello"}
USES = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}
ANSWERS = {"role": "user", "content": [RESULT]}
THINKING = {"type": "enabled", "budget_tokens": 1024}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": sign("hm")}
MARK = {"type": "ephemeral"}
PNG_AS_JPEG = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "iVBORw0KGgo="}}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 2000, "messages": [USER], **fields}


def accept(body: Any) -> None:
    check_shape(body, MESSAGES_REQUEST)
    family = find(ANTHROPIC, body["model"])
    assert family is not None
    check(body, family)
    check_conversation(body, family)


def text(*texts: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": one, **more} for one in texts]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"foo": 1}, "foo: Extra inputs are not permitted"),
        ({"n": 2}, "n: Extra inputs are not permitted"),
        ({"stop": ["a"]}, "stop: Extra inputs are not permitted"),
        ({"stream_options": {}}, "stream_options: Extra inputs are not permitted"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 64_001}, "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"temperature": None}, "temperature: Input should be a valid number"),
        ({"temperature": 0.5, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified"),
        ({"top_k": -1}, "top_k: Input should be greater than or equal to 0"),
        ({"stop_sequences": "a"}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
        ({"system": text("")}, "system.0: text content blocks must be non-empty"),
        ({"system": [{"type": "image"}]}, "system.0.type: Input tag 'image' found"),
        ({"metadata": {"user": "x"}}, "metadata.user: Extra inputs are not permitted"),
        ({"metadata": {"user_id": "a@example.com"}}, "metadata.user_id: user_id appears to contain an email address"),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "object", "anyOf": [{}]}}]},
            "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
        ),
        (
            {"messages": [{"role": "user", "content": [PNG_AS_JPEG]}]},
            "messages.0.content.0.image.source.base64: The image was specified using the image/jpeg media type",
        ),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1023}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        ({"thinking": THINKING, "max_tokens": 1024}, "`max_tokens` must be greater than `thinking.budget_tokens`"),
        ({"thinking": THINKING, "temperature": 0.5}, "`temperature` may only be set to 1 when thinking is enabled"),
        ({"thinking": THINKING, "top_k": 5}, "`top_k` must be unset when thinking is enabled"),
        (
            {"thinking": THINKING, "tools": [TOOL], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use",
        ),
        ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.custom.name: String should match"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.type: Input tag 'function' found"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice: may only be specified while providing tools"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice: Input should be a valid dictionary"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, "tool_choice.type: Input tag 'required'"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "Tool 'g' not found in provided tools"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            {"messages": [{"role": "user", "content": text(*"abcde", cache_control=MARK)}]},
            "A maximum of 4 blocks with cache_control may be provided. Found 5",
        ),
        (
            {
                "system": text("a", cache_control=MARK),
                "messages": [{"role": "user", "content": text("b", cache_control={**MARK, "ttl": "1h"})}],
            },
            "a ttl='1h' cache_control block must not come after a ttl='5m'",
        ),
        ({"model": "claude-opus-4-8", "temperature": 0.5}, "`temperature` is not supported for this model"),
        ({"model": "claude-opus-4-8", "thinking": THINKING}, '"thinking.type.enabled" is not supported'),
        (
            {"model": "claude-sonnet-5", "messages": [USER, {"role": "assistant", "content": "So"}]},
            "This model does not support assistant message prefill",
        ),
    ],
)
def test_a_setting_is_refused_in_the_provider_s_words(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as raised:
        accept(request(**fields))

    assert raised.value.message.startswith(message) or message in raised.value.message
    assert raised.value.status == 400


CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


def property_of(schema: Any, **more: Any) -> dict[str, Any]:
    return {**CLOSED, "properties": {"p": schema}, **more}


GRAMMAR: list[tuple[Any, str]] = [
    ({"type": "integer", "minimum": 0}, "For 'integer' type, property 'minimum' is not supported"),
    ({"type": "number", "multipleOf": 2}, "For 'number' type, property 'multipleOf' is not supported"),
    ({"type": "string", "minLength": 1}, "For 'string' type, property 'minLength' is not supported"),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 3}, "property 'maxItems' is not supported"),
    ({"type": "array", "minItems": 2}, "'minItems' values other than 0 or 1 are not supported"),
    ({"type": "string", "format": "iban"}, "'format' value 'iban' is not supported"),
    ({"oneOf": [{"type": "string"}]}, "Schema type 'oneOf' is not supported"),
    ({"anyOf": [{"type": "integer", "maximum": 1}]}, "property 'maximum' is not supported"),
    ({"enum": [{}]}, "Complex types are not supported within enums"),
    ({"type": "object", "additionalProperties": {}}, "must be explicitly set to false"),
    ({"$ref": "#"}, "Only references to '#/"),
    ({}, "Schema must have a 'type'"),
    (True, "Schema must be an object"),
]


@pytest.mark.parametrize(("schema", "message"), GRAMMAR)
def test_c4_a_schema_beyond_the_grammar_is_refused_in_answers_and_strict_tools(schema: Any, message: str) -> None:
    for fields in (
        {"output_config": {"format": {"type": "json_schema", "schema": property_of(schema)}}},
        {"tools": [{"name": "f", "strict": True, "input_schema": property_of(schema)}]},
    ):
        with pytest.raises(Refused) as raised:
            accept(request(**fields))

        assert message in raised.value.message


def test_c4_a_schema_that_contains_itself_is_refused() -> None:
    inner = property_of({"type": "array", "items": {"$ref": "#/$defs/A"}})
    schema = property_of({"$ref": "#/$defs/A"}, **{"$defs": {"A": inner}})

    with pytest.raises(Refused, match="Circular reference detected"):
        accept(request(output_config={"format": {"type": "json_schema", "schema": schema}}))


@pytest.mark.parametrize("schema", [one for one, _ in GRAMMAR])
def test_a_tool_that_is_not_strict_takes_every_schema(schema: Any) -> None:
    accept(request(tools=[{"name": "f", "input_schema": property_of(schema)}]))


def test_thinking_between_blocks_must_come_back_at_its_place() -> None:
    second = {"type": "thinking", "thinking": "", "signature": sign("hm", "text")}
    message = {"role": "assistant", "content": [THOUGHT, *text("a"), second, USES["content"][0]]}
    accept(request(messages=[USER, message, ANSWERS], tools=[TOOL]))

    message["content"] = [THOUGHT, second, *text("a"), USES["content"][0]]

    with pytest.raises(Refused, match="Invalid `signature`"):
        accept(request(messages=[USER, message, ANSWERS], tools=[TOOL]))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: at least one message is required"),
        ([{"role": "assistant", "content": "x"}], 'messages: first message must use the "user" role'),
        ([{"role": "system", "content": "x"}, USER], 'messages: Unexpected role "system"'),
        ([{"role": "tool", "content": "x"}], 'messages: Unexpected role "tool"'),
        ([{"role": "user"}], "messages.0.content: Field required"),
        ([{"role": "user", "content": ""}], "messages.0: all messages must have non-empty content"),
        ([{"role": "user", "content": []}], "messages.0: all messages must have non-empty content"),
        ([{"role": "user", "content": text("")}], "messages: text content blocks must be non-empty"),
        ([{"role": "user", "content": text(" \n")}], "messages: text content blocks must contain non-whitespace text"),
        ([{**USER, "name": "ada"}], "messages.0.name: Extra inputs are not permitted"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages.0.content.0.type: Input tag 'image_url'"),
        (
            [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://a/b.png"}}]}],
            "messages.0.content.0.image.source.url",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "x"}}]}],
            "messages.0.content.0.image.source.base64.media_type: Field required",
        ),
        ([USER, {"role": "assistant", "content": [RESULT]}], "`tool_result` blocks can only be in `user` messages"),
        ([{"role": "user", "content": USES["content"]}], "`tool_use` blocks can only be in `assistant` messages"),
        (
            [USER, {"role": "assistant", "content": "So "}],
            "final assistant content cannot end with trailing whitespace",
        ),
        ([USER, USES, USER], "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"),
        ([USER, USES], "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1"),
        (
            [USER, USES, {"role": "user", "content": [*text("first"), RESULT]}],
            "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
        ([USER, ANSWERS], "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
        ([USER, USES, {"role": "user", "content": [RESULT, RESULT]}], "each tool_use must have a single result"),
        ([USER, USES, ANSWERS, USES, ANSWERS], "`tool_use` ids must be unique"),
        (
            [USER, {"role": "assistant", "content": [{**THOUGHT, "thinking": "other"}]}, USER],
            "Invalid `signature` in `thinking` block",
        ),
        (
            [USER, {"role": "assistant", "content": [{**THOUGHT, "cache_control": MARK}]}, USER],
            "cache_control: Extra inputs are not permitted",
        ),
    ],
)
def test_a_conversation_out_of_order_is_refused(messages: list[Any], message: str) -> None:
    with pytest.raises(Refused) as raised:
        accept(request(messages=messages))

    assert message in raised.value.message


def test_with_thinking_a_tool_loop_must_bring_its_thinking_back() -> None:
    with pytest.raises(Refused) as raised:
        accept(request(thinking=THINKING, tools=[TOOL], messages=[USER, USES, ANSWERS]))
    thoughtful = {"role": "assistant", "content": [THOUGHT, *USES["content"]]}

    accept(request(thinking=THINKING, tools=[TOOL], messages=[USER, thoughtful, ANSWERS]))
    assert "Expected `thinking` or `redacted_thinking`, but found `tool_use`" in raised.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER, USER, USES, {"role": "user", "content": [RESULT, *text("and")]}], "tools": [TOOL]},
        {"messages": [USER, USES, ANSWERS, USER], "tools": [TOOL], "tool_choice": {"type": "none"}},
        {"system": text("a", cache_control={**MARK, "ttl": "1h"}), "temperature": 0, "stop_sequences": ["x"]},
        {"thinking": THINKING, "temperature": 1, "metadata": {"user_id": None}},
        {"messages": [USER, {"role": "assistant", "content": "So"}]},
        {"model": "claude-opus-4-8", "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]},
    ],
)
def test_what_the_provider_takes_is_taken(fields: dict[str, Any]) -> None:
    accept(request(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1},
        {"top_p": 1},
        {"top_k": 5},
        {"messages": [{"role": "user", "content": text("x", citations=[{"type": "char_location"}])}]},
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [{"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}],
                },
                USER,
            ]
        },
    ],
)
def test_the_newest_version_refuses_what_older_ones_take(fields: dict[str, Any]) -> None:
    body = request(**fields)

    accept(body)
    check_for_version(body, "2023-06-01")
    with pytest.raises(Refused) as raised:
        check_for_version(body, "2026-10-21")
    assert raised.value.status == 400


@pytest.mark.parametrize("version", [None, "", "2024-01-01"])
def test_an_unknown_version_is_refused(version: str | None) -> None:
    with pytest.raises(Refused):
        check_version(version)


@pytest.mark.parametrize("missing", ["model", "messages", "max_tokens"])
def test_required_fields_are_required(missing: str) -> None:
    body = request()
    del body[missing]

    with pytest.raises(Refused) as raised:
        accept(body)

    assert raised.value.message == f"{missing}: Field required"
