"""How an answer goes on after a keep-alive that has said the role of its first choice (C15)."""

import json
from typing import Any

import pytest

from gateway.dialects.openai.keep_alive_frame import without_role


def event(*choices: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"id": "c", "choices": choices}).encode() + b"\n\n"


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": None}


def deltas(events: bytes) -> list[tuple[int, dict[str, Any]]]:
    chunks = [json.loads(text.removeprefix("data: ")) for text in events.decode().split("\n\n") if text]
    return [(choice["index"], choice["delta"]) for chunk in chunks for choice in chunk["choices"]]


ROLE = {"role": "assistant", "content": ""}
TEXT = {"content": ""}
FIRST_LAST = event(delta(1, **ROLE)) + event(delta(0, **ROLE))
TOGETHER = event(delta(1, **ROLE), delta(0, **ROLE))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (event(delta(0, **ROLE)), [(0, TEXT)]),
        (event(delta(0, role="assistant")), [(0, {})]),
        (event(delta(0, content="", role="assistant")), [(0, TEXT)]),
        (event(delta(0, **ROLE)) + event(delta(1, **ROLE)), [(0, TEXT), (1, ROLE)]),
        (FIRST_LAST, [(1, ROLE), (0, TEXT)]),
        (TOGETHER, [(1, ROLE), (0, TEXT)]),
        (event(delta(1, **ROLE)), [(1, ROLE)]),
        (event(delta(0, content='"role":"assistant",')), [(0, {"content": '"role":"assistant",'})]),
    ],
)
def test_the_role_of_the_first_choice_is_not_said_again(
    events: bytes, expected: list[tuple[int, dict[str, Any]]]
) -> None:
    assert deltas(without_role(events)) == expected


def test_what_is_no_chunk_stays_as_it_is() -> None:
    events = b"data: [1]\n\ndata: {\n\nevent: x\ndata: [DONE]\n\n"

    assert without_role(events) == events


def test_nothing_but_the_role_changes() -> None:
    """Long numbers and spaces too: the answer is passed on as it is."""
    rest = b'data: {"x": 12345678901234567890123, "choices": [{"index":0,"delta":{%b"content":"hi"}}]}\n\n'

    assert without_role(rest % b'"role": "assistant", ') == rest % b""
