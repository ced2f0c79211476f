"""E3: thinking comes back at its place, or not at all; it is never a reason to refuse."""

from typing import Any

import pytest

from gateway.dialects.anthropic.messages import conversation
from gateway.dialects.anthropic.open_blocks import MAX_THOUGHT_CHARACTERS, OpenThoughts
from gateway.errors import InvalidRequest

SIGNED = {"type": "thinking", "thinking": "T", "signature": "S"}
HIDDEN = {"type": "thinking", "thinking": "", "signature": "S"}
REDACTED = {"type": "redacted_thinking", "data": "D"}


def sent(blocks: Any, content: Any = "Hello world", calls: int = 0) -> list[str]:
    """The assistant's blocks, each as one word: its text, or its kind."""
    made = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(calls)]
    message = {"role": "assistant", "content": content, "thinking_blocks": blocks, "tool_calls": made}
    _, turns = conversation([{"role": "user", "content": "Hi"}, message])
    return [block.get("text") or block.get("id") or block["type"] for block in turns[1]["content"]]


def after(characters: Any, tool_calls: Any = 0, block: dict[str, Any] = SIGNED) -> dict[str, Any]:
    return {**block, "after": {"characters": characters, "tool_calls": tool_calls}}


@pytest.mark.parametrize(
    ("blocks", "calls", "order"),
    [
        ([SIGNED], 1, ["thinking", "Hello world", "c0"]),
        ([SIGNED, after(6)], 0, ["thinking", "Hello ", "thinking", "world"]),
        ([SIGNED, after(11)], 1, ["thinking", "Hello world", "thinking", "c0"]),
        ([after(11, 1), after(11, 2, REDACTED)], 3, ["Hello world", "c0", "thinking", "c1", "redacted_thinking", "c2"]),
        ([after(5), after(6)], 1, ["Hello", "thinking", "thinking", "world", "c0"]),
    ],
)
def test_thoughts_between_text_and_tools_keep_their_places(
    blocks: list[dict[str, Any]], calls: int, order: list[str]
) -> None:
    assert sent(blocks, calls=calls) == order


@pytest.mark.parametrize("place", [after(99), after("x", None), after(-3), {**SIGNED, "after": 7}])
def test_a_place_that_the_message_does_not_have_is_no_reason_to_refuse(place: dict[str, Any]) -> None:
    assert sorted(sent([place], calls=1)) == ["Hello world", "c0", "thinking"]


def test_text_in_parts_is_cut_where_the_whole_would_be() -> None:
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": " world"}]

    assert sent([after(7)], parts, calls=1) == ["Hello", " w", "thinking", "orld", "c0"]


@pytest.mark.parametrize(
    ("blocks", "order"),
    [
        ([SIGNED], ["thinking", "Hello", "image", " world", "c0"]),
        ([after(5)], ["Hello", "thinking", "image", " world", "c0"]),
        ([after(6)], ["Hello", "image", " ", "thinking", "world", "c0"]),
        ([after(99)], ["Hello", "image", " world", "thinking", "c0"]),
    ],
)
def test_e3_a_picture_in_the_content_has_no_characters(blocks: list[dict[str, Any]], order: list[str]) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    parts = [{"type": "text", "text": "Hello"}, picture, {"type": "text", "text": " world"}]

    assert sent(blocks, parts, calls=1) == [one for one in order if one.strip()]


@pytest.mark.parametrize(
    "unusable",
    [
        {"type": "thinking", "thinking": "no signature"},
        {"type": "thinking", "thinking": "T", "signature": ""},
        {"type": "thinking", "thinking": None, "signature": "S"},
        {"type": "redacted_thinking"},
        {"type": "something"},
        {},
        "text",
    ],
)
def test_a_block_that_lost_a_part_is_ignored_with_the_rest_of_its_message(unusable: Any) -> None:
    assert sent([SIGNED, unusable], calls=1) == ["Hello world", "c0"]


def test_a_signature_without_its_text_stands_for_hidden_thinking() -> None:
    for block in (HIDDEN, {"index": 0, "type": "thinking", "signature": "S"}):
        assert sent([block]) == ["thinking", "Hello world"]


@pytest.mark.parametrize("content", [None, "", " "])
def test_a_message_of_nothing_but_thinking_is_left_out(content: Any) -> None:
    message = {"role": "assistant", "content": content, "thinking_blocks": [SIGNED]}

    _, turns = conversation([{"role": "user", "content": "A"}, message, {"role": "user", "content": "B"}])

    assert [turn["role"] for turn in turns] == ["user"]


def test_a_thought_that_nothing_follows_is_left_out() -> None:
    assert sent([SIGNED, after(11)]) == ["thinking", "Hello world"]


def test_blocks_that_are_no_list_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent({"type": "thinking"})

    assert caught.value.param == "messages[1].thinking_blocks"


def test_a_stream_that_thinks_without_end_is_answered_without_its_blocks() -> None:
    thoughts = OpenThoughts()
    thoughts.open(0, {"type": "thinking", "thinking": "", "signature": ""}, characters=0, tool_calls=0)
    thoughts.add(0, "thinking", "x" * (MAX_THOUGHT_CHARACTERS - len("thinking")))
    whole = thoughts.whole

    thoughts.add(0, "thinking", "x")

    assert len(whole) == 1
    assert thoughts.whole == []
