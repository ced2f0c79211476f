"""
E1 = C2: a request that was written for Claude goes to an OpenAI model without what only Anthropic's side knows; what
can't be left out is told before the first attempt.
"""

import json
from typing import Any

import pytest

from gateway.dialects.openai.request import Dialect, request_document
from gateway.errors import InvalidRequest
from tests.gateway.dialects.replay import chat

STRICT = Dialect(foreign_fields=False)
REASONER = Dialect(foreign_fields=False, fixed_sampling=True)
CACHED = {"cache_control": {"type": "ephemeral"}}


def sent(dialect: Dialect = STRICT, **fields: Any) -> dict[str, Any]:
    request = chat(**fields)
    before = json.dumps(request.document)
    limit = request.max_output_tokens or 64
    document = request_document(
        request, dialect, upstream_model="m", max_output_tokens=limit, clamp=request.max_output_tokens is None
    )
    assert json.dumps(request.document) == before
    return document


@pytest.mark.parametrize(
    "foreign",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2_000}},
        {"top_k": 5},
        {"cache_control": {"type": "ephemeral"}},
        {"context_management": {"edits": []}},
        {"reasoning": {"enabled": True}},
        {"output_config": {}},
        {"mcp_servers": []},
        {"container": None},
    ],
)
def test_parameters_that_only_anthropic_knows_are_left_out(foreign: dict[str, Any]) -> None:
    [name] = foreign

    assert not sent(**foreign).get(name)
    assert sent(Dialect(), **foreign)[name] == foreign[name]


def test_messages_parts_and_tools_lose_what_only_anthropic_knows_and_nothing_else() -> None:
    thought = {"reasoning_content": "Hm", "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}]}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    function = {"name": "f", "parameters": {"type": "object", "properties": {"cache_control": {"type": "string"}}}}

    document = sent(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "Be brief", **CACHED}]},
            {"role": "user", "content": [{"type": "text", "text": "x", **CACHED}, image, "y"], **CACHED},
            {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call], **thought},
            {"role": "tool", "tool_call_id": "c", "content": "no", "is_error": True},
        ],
        tools=[{"type": "function", "function": {**function, **CACHED}, **CACHED}, 7],
    )

    assert document["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "Be brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "x"}, image, "y"]},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "no"},
    ]
    assert document["tools"] == [{"type": "function", "function": function}, 7]


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"reasoning": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "medium"}}, "medium"),
        ({"reasoning_effort": "max"}, "high"),
        ({"reasoning_effort": "xhigh"}, "high"),
        ({"reasoning_effort": "minimal", "reasoning": {"effort": "high"}}, "minimal"),
        ({"reasoning": {"effort": 7}}, None),
        ({"thinking": {"type": "adaptive"}}, None),
    ],
)
def test_an_effort_keeps_its_meaning(fields: dict[str, Any], effort: str | None) -> None:
    assert sent(**fields).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"type": "url", "url": "https://example.org", "name": "x"}]}, "mcp_servers"),
        ({"container": "c_1"}, "container"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_can_not_be_left_out_makes_the_target_one_that_can_not_be_asked(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(REASONER, **fields)

    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


def test_a_model_of_fixed_sampling_is_sent_none() -> None:
    sampling = {"temperature": 0.3, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": 1}

    assert sampling.keys().isdisjoint(sent(REASONER, **sampling))
    assert sampling.items() <= sent(STRICT, **sampling).items()


def test_anthropics_name_of_the_usual_tier_becomes_openais() -> None:
    assert sent(service_tier="standard_only")["service_tier"] == "default"
    assert sent(service_tier="flex")["service_tier"] == "flex"
