"""
An upper bound of a request's input tokens, before it is sent and without a tokenizer.

Text is bounded by its bytes: the ratios are below the lowest measured for six kinds of ordinary text (prose, code,
JSON, Markdown, German, Chinese). Hex, base64 and random text can exceed them; settlement charges what was used.
Pictures and documents are bounded by their provider's formula, and their base64 is not counted as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.chat_request import ChatRequest

__all__ = ["FAMILIES", "Family", "estimate_input"]

MEDIA = (b'"image_url"', b'"file"', b'"input_audio"')
REQUEST_FRAME = 16
MESSAGE_FRAME = 8
TOOL_FRAME = 32
MOST_PAGES = 100
PAGE_BYTES = 5_000
"""A page of a PDF is rarely smaller; pages are counted from the size, not read."""
PAGE_TEXT = 3_000
AUDIO_BYTES_PER_TOKEN = 100
"""10 tokens a second of speech at 8 kbit/s, the tightest compression in use."""


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one family count. `bytes_per_ten_tokens` 19 means 1.9 bytes of UTF-8 per token."""

    bytes_per_ten_tokens: int
    image: int
    """The most that one picture costs, of whatever size."""
    image_low: int
    """With `detail: low`."""
    tools: int
    """What the presence of tools or of an answer schema adds, beside their own text."""


FAMILIES: dict[str, Family] = {
    "openai": Family(24, image=85 + 8 * 170, image_low=85, tools=64),  # 2,048 x 768 pixels are 8 tiles.
    "openai-mini": Family(24, image=2_833 + 8 * 5_667, image_low=2_833, tools=64),  # gpt-4o-mini counts dearer tiles.
    "claude": Family(19, image=4_784, image_low=4_784, tools=900),  # Opus 4.7, Sonnet 5 and later.
    "claude-4": Family(24, image=1_600, image_low=1_600, tools=550),  # Claude 3 to 4.6.
}


def estimate_input(chat: ChatRequest, family: str) -> int:
    """Tokens. `family` is a name in FAMILIES."""
    counts = FAMILIES[family]
    text, media = len(chat.raw), 0
    if any(marker in chat.raw for marker in MEDIA):
        for part in _parts(chat.document["messages"]):
            encoded, tokens = _media(part, counts)
            text -= encoded
            media += tokens
    return -(-text * 10 // counts.bytes_per_ten_tokens) + media + _frames(chat.document, counts)


def _frames(document: dict[str, Any], counts: Family) -> int:
    frames = REQUEST_FRAME + MESSAGE_FRAME * len(document["messages"])
    tools = document.get("tools")
    if tools:
        frames += counts.tools + TOOL_FRAME * (len(tools) if isinstance(tools, list) else 1)
    return frames + counts.tools if document.get("response_format") else frames


def _parts(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def _media(part: dict[str, Any], counts: Family) -> tuple[int, int]:
    """The bytes of the body that are no text, and the tokens they cost instead."""
    kind = part.get("type")
    if kind == "image_url":
        return _image(part.get("image_url"), counts)
    if kind == "file":
        return _file(part.get("file"), counts)
    if kind == "input_audio":
        return _audio(part.get("input_audio"))
    return 0, 0


def _image(image: object, counts: Family) -> tuple[int, int]:
    url = image.get("url") if isinstance(image, dict) else image
    low = isinstance(image, dict) and image.get("detail") == "low"
    return _encoded(url, "data:image/"), counts.image_low if low else counts.image


def _file(file: object, counts: Family) -> tuple[int, int]:
    """A PDF is read as text and as pictures of its pages; other files are text, which their base64 more than bounds."""
    data = file.get("file_data") if isinstance(file, dict) else None
    encoded = _encoded(data, "data:application/pdf;")
    if isinstance(data, str) and data.startswith("data:") and not encoded:
        return 0, 0
    pages = min(MOST_PAGES, -(-encoded * 3 // 4 // PAGE_BYTES)) if encoded else MOST_PAGES
    return encoded, pages * (PAGE_TEXT + counts.image)


def _audio(audio: object) -> tuple[int, int]:
    data = audio.get("data") if isinstance(audio, dict) else None
    encoded = len(data) if isinstance(data, str) and data.isascii() else 0
    return encoded, -(-encoded * 3 // 4 // AUDIO_BYTES_PER_TOKEN)


def _encoded(url: object, prefix: str) -> int:
    """Bytes that are no text; 0 for a URL that only points to them. Not ASCII is no base64 and counts as text."""
    return len(url) if isinstance(url, str) and url.startswith(prefix) and url.isascii() else 0
