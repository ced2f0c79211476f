import base64
from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic.messages import conversation
from gateway.errors import InvalidRequest
from tests.gateway.dialects.anthropic.sdk_shape import require_sdk_shape

Message = dict[str, Any]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
EPHEMERAL = {"type": "ephemeral"}


def text(value: str, **more: Any) -> Message:
    return {"type": "text", "text": value, **more}


def user(*parts: Any) -> Message:
    return {"role": "user", "content": list(parts)}


def call(id: str, name: str = "f", arguments: str = "{}") -> Message:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def translated(*messages: Message) -> tuple[list[Message], list[Message]]:
    before = orjson.dumps(messages)
    system, turns = orjson.loads(orjson.dumps(conversation(list(messages))))
    require_sdk_shape({"model": "m", "max_tokens": 1, "system": system, "messages": turns})
    assert orjson.dumps(messages) == before
    return system, turns


def blocks(part: Message) -> list[Message]:
    _, [message] = translated(user(part))
    content: list[Message] = message["content"]
    return content


def refused(*messages: Message) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        conversation(list(messages))
    return caught.value.param


def test_system_and_developer_messages_move_to_the_top_in_their_order() -> None:
    system, turns = translated(
        {"role": "system", "content": "One"},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": [{"type": "text", "text": "Two", "cache_control": EPHEMERAL}]},
        {"role": "assistant", "content": "Hello"},
        {"role": "system", "content": "Three", "cache_control": EPHEMERAL},
        {"role": "user", "content": "Bye"},
    )

    assert system == [text("One"), text("Two", cache_control=EPHEMERAL), text("Three", cache_control=EPHEMERAL)]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


def test_neighbours_of_one_role_become_one_message() -> None:
    _, turns = translated(
        {"role": "user", "content": "A", "name": "ignored"},
        {"role": "user", "content": [text("B")]},
        {"role": "assistant", "content": "C"},
        {"role": "assistant", "content": None, "tool_calls": [call("t")]},
    )

    assert turns == [
        {"role": "user", "content": [text("A"), text("B")]},
        {"role": "assistant", "content": [text("C"), {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
    ]


def test_blank_text_is_left_out_and_a_message_of_nothing_else_with_it() -> None:
    _, turns = translated(
        {"role": "user", "content": [text(" \n"), text("A")]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "B"},
    )

    assert turns == [{"role": "user", "content": [text("A"), text("B")]}]


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("blank", [[], [{"role": "user", "content": " "}], [{"role": "assistant", "content": None}]])
def test_c8_without_a_users_turn_the_last_system_text_is_one(role: str, blank: list[Message]) -> None:
    system, turns = translated({"role": "system", "content": "S"}, {"role": role, "content": "Say hi"}, *blank)

    assert system == [text("S")]
    assert turns == [user(text("Say hi"))]


def test_c8_a_system_message_after_an_answer_is_the_users_turn() -> None:
    system, turns = translated(
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "system", "content": "Go on"},
    )

    assert system == [text("S")]
    assert turns[1:] == [{"role": "assistant", "content": [text("A")]}, user(text("Go on"))]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": []}],
        [{"role": "system", "content": " "}],
    ],
)
def test_c8_a_conversation_that_says_nothing_is_asked_as_such(messages: list[Message]) -> None:
    assert translated(*messages) == ([], [user(text("(no message)"))])


@pytest.mark.parametrize("before", [[], [{"role": "user", "content": " "}], [{"role": "system", "content": "S"}]])
def test_e23a_a_greeting_by_the_assistant_gets_a_user_before_it(before: list[Message]) -> None:
    _, turns = translated(*before, {"role": "assistant", "content": "Welcome!"}, {"role": "user", "content": "Hi"})

    assert turns == [user(text("(no message)")), {"role": "assistant", "content": [text("Welcome!")]}, user(text("Hi"))]


def test_e23a_a_blank_message_of_the_user_at_the_end_is_still_the_users_turn() -> None:
    _, turns = translated(
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": ""}
    )

    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


def test_an_assistants_message_at_the_end_stays_the_beginning_of_the_answer() -> None:
    _, turns = translated({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, \n"})

    assert turns[-1] == {"role": "assistant", "content": [text("Well,")]}


def test_results_of_tools_come_first_in_one_user_message() -> None:
    _, turns = translated(
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call("a", "w", '{"city": "Paris"}'), call("b", "w", "")]},
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "user", "content": "and?"},
        {"role": "tool", "tool_call_id": "a", "content": [text("su"), text("n")], "cache_control": EPHEMERAL},
        {"role": "tool", "tool_call_id": "c", "content": "", "is_error": True},
    )

    assert turns[1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "w", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "b", "name": "w", "input": {}},
    ]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "b", "content": [text("rain")]},
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [text("su"), text("n")],
            "cache_control": EPHEMERAL,
        },
        {"type": "tool_result", "tool_use_id": "c", "is_error": True},
        text("and?"),
    ]


def test_thinking_blocks_come_back_first_and_as_they_were() -> None:
    _, turns = translated(
        user(text("A")),
        {
            "role": "assistant",
            "content": "Hm",
            "reasoning_content": "Let me think",
            "thinking_blocks": [
                {"index": 0, "type": "thinking", "thinking": "Let me think", "signature": "S"},
                {"index": 1, "type": "redacted_thinking", "data": "D"},
            ],
            "tool_calls": [call("t")],
        },
    )

    assert turns[1]["content"] == [
        {"type": "thinking", "thinking": "Let me think", "signature": "S"},
        {"type": "redacted_thinking", "data": "D"},
        text("Hm"),
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]


BEGINNINGS = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "image/png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d",
    "image/gif": b"GIF89a\x01\x00\x01\x00\x80\x00",
    "image/webp": b"RIFF\x1a\n\x00\x00WEBPVP8 ",
}


@pytest.mark.parametrize("named", ["image/jpeg", "image/png", "application/octet-stream", "IMAGE/JPG"])
@pytest.mark.parametrize("seen", BEGINNINGS)
def test_e22_an_image_is_what_its_bytes_say(seen: str, named: str) -> None:
    data = base64.b64encode(BEGINNINGS[seen]).decode()

    [block] = blocks({"type": "image_url", "image_url": {"url": f"DATA:{named};base64,{data}"}})

    assert block["source"] == {"type": "base64", "media_type": seen, "data": data}


@pytest.mark.parametrize("url", ["HTTPS://example.org/a.png", "Https://example.org/a.png"])
def test_e22_the_scheme_of_an_address_may_be_written_in_capitals(url: str) -> None:
    [image] = blocks({"type": "image_url", "image_url": {"url": url}})
    [file] = blocks({"type": "file", "file": {"file_data": url}})

    assert image["source"] == file["source"] == {"type": "url", "url": url}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (text("A", cache_control={"type": "ephemeral", "ttl": "1h"}),) * 2,
        (
            {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}, "cache_control": EPHEMERAL},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                "cache_control": EPHEMERAL,
            },
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,/9j/"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        ),
        (
            {"type": "image_url", "image_url": "https://example.org/a.png"},
            {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        ),
        (
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/octet-stream;base64,JVBERi0="}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,SMOkbGxv"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hällo"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        ),
    ],
)
def test_a_content_part_becomes_a_block(part: Message, block: Message) -> None:
    assert blocks(part) == [block]


def test_an_assistants_refusal_is_text() -> None:
    _, turns = translated(
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "assistant", "content": None, "refusal": "Never."},
    )

    assert turns[1]["content"] == [text("No."), text("Never.")]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "critic", "content": "x"}, "messages[0].role"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        (user("x"), "messages[0].content[0]"),
        (user({}), "messages[0].content[0].type"),
        (user({"type": "text"}), "messages[0].content[0].text"),
        (user({"type": "video"}), "messages[0].content[0].type"),
        (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0].type"),
        (user({"type": "image_url"}), "messages[0].content[0].image_url"),
        (user({"type": "image_url", "image_url": {}}), "messages[0].content[0].image_url.url"),
        (user({"type": "image_url", "image_url": "http://x/a.png"}), "messages[0].content[0].image_url.url"),
        (user({"type": "image_url", "image_url": "data:image/png,raw"}), "messages[0].content[0].image_url.url"),
        (
            user({"type": "image_url", "image_url": "data:image/tiff;base64,AA=="}),
            "messages[0].content[0].image_url.url",
        ),
        (user({"type": "file", "file": {"file_id": "file-1"}}), "messages[0].content[0].file.file_id"),
        (
            user({"type": "file", "file": {"file_data": "data:text/csv;base64,AA=="}}),
            "messages[0].content[0].file.file_data",
        ),
        (
            user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}),
            "messages[0].content[0].file.file_data",
        ),
        (
            user({"type": "file", "file": {"file_data": "data:text/plain;base64,?"}}),
            "messages[0].content[0].file.file_data",
        ),
        (
            {"role": "system", "content": [{"type": "image_url", "image_url": PNG}]},
            "messages[0].content[0].type",
        ),
        ({"role": "assistant", "function_call": {}}, "messages[0].function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        ({"role": "assistant", "tool_calls": "x"}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [{"type": "custom"}]}, "messages[0].tool_calls[0].type"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
            "messages[0].tool_calls[0].id",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "thinking_blocks": {}}, "messages[0].thinking_blocks"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
    ],
)
def test_what_is_wrong_or_has_no_equivalent_is_refused_by_its_place(message: Message, param: str) -> None:
    assert refused(message) == param
