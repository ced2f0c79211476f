"""A body of `/v1/messages` as a chat completion request."""

from typing import Any

import pytest

from gateway.dialects.messages.to_chat import chat_document
from gateway.errors import InvalidRequest

PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
TOOL = {
    "name": "weather",
    "description": "d",
    "input_schema": {"type": "object"},
    "cache_control": {"type": "ephemeral"},
}


def chat(**more: Any) -> dict[str, Any]:
    base = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    return chat_document({**base, **more})


def messages(*given: dict[str, Any]) -> Any:
    return chat(messages=list(given))["messages"]


def test_a_plain_request_keeps_what_both_sides_know() -> None:
    translated = chat(system="Be brief.", temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["x"], stream=True)

    assert translated == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "stream": True,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
    }


def test_a_turn_with_tools_and_pictures() -> None:
    translated = messages(
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": PNG}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I see"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "and?"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "sun"}, {"type": "image", "source": PNG}],
                },
            ],
        },
    )

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert translated == [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, picture]},
        {
            "role": "assistant",
            "content": "I see",
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "sun"},
        {"role": "user", "content": [{"type": "text", "text": "and?"}, picture]},
    ]


def test_a_reminder_in_the_middle_stays_where_it_is() -> None:
    """As Claude Code writes them."""
    translated = messages(
        {"role": "user", "content": "Hi"}, {"role": "system", "content": [{"type": "text", "text": "Be quick."}]}
    )

    assert translated == [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be quick."}]


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "AA"},
            {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA"}},
        ),
        ({"type": "text", "media_type": "text/plain", "data": "words"}, {"type": "text", "text": "words"}),
    ],
)
def test_a_document_becomes_a_file_or_text(source: dict[str, Any], part: dict[str, Any]) -> None:
    [message] = messages({"role": "user", "content": [{"type": "document", "source": source}]})

    assert message["content"] == [part]


@pytest.mark.parametrize(
    ("choice", "translated"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "weather"},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
    ],
)
def test_tools_and_their_choice(choice: dict[str, Any], translated: dict[str, Any]) -> None:
    made = chat(tools=[TOOL], tool_choice=choice)

    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert made["tools"] == [{"type": "function", "function": function}]
    assert {name: made[name] for name in translated} == translated


@pytest.mark.parametrize("member", ["output_format", "output_config"])
def test_a_schema_for_the_answer(member: str) -> None:
    asked = {"type": "json_schema", "schema": {"type": "object"}}

    made = chat(**{member: asked if member == "output_format" else {"format": asked}})

    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert made["response_format"] == {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"container": "c"}, "container"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": 1}]}, "tools[0].name"),
        ({"tool_choice": {"type": "x"}}, "tool_choice.type"),
        ({"tool_choice": {"type": {}}}, "tool_choice.type"),
        ({"system": [{"type": "text"}]}, "system[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content",
        ),
    ],
)
def test_what_cannot_be_said_is_named(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**asked)

    assert refused.value.param == param
