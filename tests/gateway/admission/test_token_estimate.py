from typing import Any

import pytest

from gateway.admission.token_estimate import FAMILIES, estimate_input
from gateway.dialects.openai.chat_request import parse_chat
from tests.gateway.dialects.replay import chat

LARGE = "A" * 4_000_000


def estimate(*content: Any, family: str = "openai", **fields: Any) -> int:
    return estimate_input(chat(messages=[{"role": "user", "content": list(content)}], **fields), family)


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data}}


EMPTY = {family: estimate(family=family) for family in FAMILIES}

# (bytes, tokens) of six kinds of text as counted by the newest Claude tokenizer, the dearest.
BYTES_PER_TOKEN = {"prose": 3.65, "code": 3.07, "json": 1.94, "markdown": 3.64, "german": 2.16, "chinese": 2.91}


@pytest.mark.parametrize("kind", BYTES_PER_TOKEN)
def test_ordinary_text_is_bounded(kind: str) -> None:
    text = "x" * 10_000

    assert estimate(text, family="claude") >= 10_000 / BYTES_PER_TOKEN[kind]


@pytest.mark.parametrize(("family", "tokens"), [("openai", 4_167), ("claude", 5_264), ("claude-4", 4_167)])
def test_text_costs_by_its_bytes(family: str, tokens: int) -> None:
    part = {"type": "text", "text": ""}
    longer = {"type": "text", "text": "ä" * 5_000}

    assert abs(estimate(longer, family=family) - estimate(part, family=family) - tokens) <= 1


@pytest.mark.parametrize(
    ("family", "detail", "tokens"),
    [
        ("openai", {}, 1_445),
        ("openai", {"detail": "high"}, 1_445),
        ("openai", {"detail": "low"}, 85),
        ("openai-mini", {"detail": "low"}, 2_833),
        ("openai-mini", {}, 48_169),
        ("claude-4", {"detail": "low"}, 1_600),
        ("claude", {}, 4_784),
    ],
)
@pytest.mark.parametrize("url", [f"data:image/png;base64,{LARGE}", "https://example.org/large.png"])
def test_f48_a_picture_costs_by_its_formula_and_not_by_its_bytes(
    url: str, family: str, detail: dict[str, str], tokens: int
) -> None:
    extra = estimate(image(url, **detail), family=family) - EMPTY[family]

    assert tokens <= extra <= tokens + 80


def test_content_that_is_no_list_of_objects_is_text() -> None:
    mixed = chat(
        messages=[
            {"role": "user", "content": ["data:image/png;base64,", image("https://example.org/a.png")]},
            {"role": "assistant", "content": "Nice"},
        ]
    )

    assert estimate_input(mixed, "openai") >= 1_445


def test_each_picture_counts() -> None:
    one = estimate(image("https://example.org/a.png"))
    two = estimate(image("https://example.org/a.png"), image("https://example.org/a.png"))

    assert two - one >= 1_445


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": f"data:image/png;base64,{LARGE}"},
        image("data:text/html;base64," + LARGE),
        image("data:image/png;base64," + "ä" * 2_000_000),
        file("data:text/plain;base64," + LARGE),
        {"type": "image_url", "image_url": 7, "text": LARGE},
        {"type": "file", "file": None, "text": LARGE},
        {"type": "unknown", "image_url": {"url": "data:image/png;base64," + LARGE}},
    ],
)
def test_what_is_no_picture_is_text(part: dict[str, Any]) -> None:
    assert estimate(part) >= 4_000_000 / 2.4


@pytest.mark.parametrize(("bytes_", "pages"), [(4_000, 1), (40_000, 8), (4_000_000, 100)])
def test_a_pdf_costs_by_the_pages_that_it_can_hold(bytes_: int, pages: int) -> None:
    data = "data:application/pdf;base64," + "A" * (bytes_ * 4 // 3 - 100)

    extra = estimate(file(data), family="claude-4") - EMPTY["claude-4"]

    assert pages * 4_600 <= extra <= pages * 4_600 + 80


def test_a_pdf_that_is_only_pointed_to_may_have_all_pages() -> None:
    assert estimate(file("https://example.org/a.pdf"), family="claude-4") >= 100 * 4_600


def test_sound_costs_by_its_length() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "A" * 400_000, "format": "mp3"}}

    assert 3_000 <= estimate(part) <= 3_200
    assert estimate({"type": "input_audio", "input_audio": None}) < 100


def test_messages_tools_and_schemas_have_frames() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]

    assert estimate(family="claude", tools=tools) - EMPTY["claude"] > 900
    assert estimate(family="claude", tools="broken") - EMPTY["claude"] > 900
    assert estimate(family="claude", response_format={"type": "json_object"}) - EMPTY["claude"] > 900
    assert estimate_input(chat(messages=[{"role": "user", "content": ""}] * 11), "openai") > 11 * 8


HIDDEN = r"""{"model":"m","messages":[{"role":"ROLE","tool_call_id":"x","content":[
  {"\u0074ype":"image\u005furl","image\u005furl":{"url":"https://example.org/a.png"}}]}]}"""


@pytest.mark.parametrize("role", ["user", "tool", "assistant", "system"])
def test_b5_an_escape_hides_no_picture_in_whatever_message(role: str) -> None:
    hidden = parse_chat(HIDDEN.replace("ROLE", role).encode())

    assert estimate_input(hidden, "openai-mini") >= 48_169


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": "https://example.org/a.png"},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
        {"type": "audio_url", "audio_url": {"url": "https://example.org/a.mp3"}},
    ],
)
def test_b5_a_picture_under_another_name_costs_as_much(part: dict[str, Any]) -> None:
    assert estimate(part) - EMPTY["openai"] >= 1_445
