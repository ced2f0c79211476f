"""
An upper bound of a request's input tokens, before it is sent and without a tokenizer.

Text is bounded by its bytes: the ratios are below the lowest measured for six kinds of ordinary text (prose, code,
JSON, Markdown, German, Chinese). Hex, base64 and random text can exceed them; settlement charges what was used.
Pictures and documents are bounded by their provider's formula, and their base64 is not counted as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.dialects.generation_request import GenerationRequest

__all__ = ["FAMILIES", "Family", "estimate_input", "estimate_parts"]

REQUEST_FRAME = 16
MESSAGE_FRAME = 8
TOOL_FRAME = 32
MAX_PAGES = 100
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


def estimate_input(chat: GenerationRequest, family: str) -> int:
    """Tokens. `family` is a name in FAMILIES."""
    text, media = estimate_parts(chat, family)
    return text + media


def estimate_parts(chat: GenerationRequest, family: str) -> tuple[int, int]:
    """The tokens of the text with all that frames it, and those of pictures, documents and sounds."""
    counts = FAMILIES[family]
    text, media = len(chat.raw), 0
    for part in chat.media:
        encoded, tokens = _media(part, counts)
        text -= encoded
        media += tokens
    return -(-text * 10 // counts.bytes_per_ten_tokens) + _frames(chat.document, counts), media


def _frames(document: dict[str, Any], counts: Family) -> int:
    frames = REQUEST_FRAME + MESSAGE_FRAME * len(document["messages"])
    tools = document.get("tools")
    if tools:
        frames += counts.tools + TOOL_FRAME * (len(tools) if isinstance(tools, list) else 1)
    return frames + counts.tools if document.get("response_format") else frames


def _media(part: dict[str, Any], counts: Family) -> tuple[int, int]:
    """The bytes of the body that are no text, and the tokens they cost instead.

    What a part costs is told by its fields, whatever its type: compatible servers take pictures under several names.
    Only what is exactly as OpenAI has it is not counted as text as well.
    """
    encoded = tokens = 0
    for name, measure in MEDIA.items():
        if part.get(name) is not None:
            bytes_of_one, tokens_of_one = measure(part[name], counts)
            encoded += bytes_of_one if part.get("type") == name or name == "source" else 0
            tokens += tokens_of_one
    return encoded, tokens


def _image(image: object, counts: Family) -> tuple[int, int]:
    url = image.get("url") if isinstance(image, dict) else image
    low = isinstance(image, dict) and image.get("detail") == "low"
    return _encoded(url, "data:image/"), counts.image_low if low else counts.image


def _source(source: object, counts: Family) -> tuple[int, int]:
    """Of a block of Anthropic's: a picture, a PDF, or a text that counts by its bytes. Only what lies in the request
    itself has bytes there."""
    kind = source.get("type") if isinstance(source, dict) else None
    media_type = source.get("media_type") if isinstance(source, dict) else None
    data = source.get("data") if isinstance(source, dict) and kind == "base64" else None
    encoded = len(data) if isinstance(data, str) and data.isascii() else 0
    if kind == "text" or kind == "content":
        return 0, 0
    if media_type == "application/pdf" or (kind != "base64" and not str(media_type or "image/").startswith("image/")):
        pages = min(MAX_PAGES, -(-encoded * 3 // 4 // PAGE_BYTES)) if encoded else MAX_PAGES
        return encoded, pages * (PAGE_TEXT + counts.image)
    return encoded, counts.image


def _file(file: object, counts: Family) -> tuple[int, int]:
    """A PDF is read as text and as pictures of its pages; other files are text, which their base64 more than bounds."""
    data = file.get("file_data") if isinstance(file, dict) else None
    encoded = _encoded(data, "data:application/pdf;")
    if isinstance(data, str) and data.startswith("data:") and not encoded:
        return 0, 0
    pages = min(MAX_PAGES, -(-encoded * 3 // 4 // PAGE_BYTES)) if encoded else MAX_PAGES
    return encoded, pages * (PAGE_TEXT + counts.image)


def _audio(audio: object, counts: Family) -> tuple[int, int]:
    data = audio.get("data") if isinstance(audio, dict) else None
    encoded = len(data) if isinstance(data, str) and data.isascii() else 0
    return encoded, -(-encoded * 3 // 4 // AUDIO_BYTES_PER_TOKEN)


def _film(film: object, counts: Family) -> tuple[int, int]:
    """Some compatible servers take films and sounds by their address: as much as the longest document."""
    return 0, MAX_PAGES * (PAGE_TEXT + counts.image)


def _encoded(url: object, prefix: str) -> int:
    """Bytes that are no text; 0 for a URL that only points to them. Not ASCII is no base64 and counts as text."""
    return len(url) if isinstance(url, str) and url[: len(prefix)].lower() == prefix and url.isascii() else 0


MEDIA: dict[str, Callable[[object, Family], tuple[int, int]]] = {
    "image_url": _image,
    "image": _image,
    "source": _source,
    "file": _file,
    "input_audio": _audio,
    "audio_url": _film,
    "video_url": _film,
    "video": _film,
}
