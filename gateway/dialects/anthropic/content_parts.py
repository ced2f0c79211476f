"""Content of a message: OpenAI's parts become Anthropic's blocks."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from gateway.dialects.anthropic.shape import as_list, as_object, as_text, unsupported

__all__ = ["Block", "content_blocks", "text_blocks"]

Block = dict[str, Any]

DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w-]+=[^;,]*)*;base64,", re.IGNORECASE)
HTTPS = re.compile(r"https://", re.IGNORECASE)
IMAGE_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
IMAGE_BYTES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG"),
    "image/gif": re.compile(rb"GIF8"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
"""How each begins. Clients name a type by a file's ending, or always the same one; Anthropic looks."""
PDF, PDF_BYTES = "application/pdf", "JVBERi"
"""`%PDF` as base64 begins it."""
MAX_BEGINNING = 16
"""Characters of base64: 12 bytes."""


def content_blocks(content: object, param: str) -> list[Block]:
    """A string or a list of parts. Blank text is left out: Anthropic refuses it, and it says nothing."""
    return _blocks(content, param, PARTS)


def text_blocks(content: object, param: str) -> list[Block]:
    """The same for system prompts, which hold text only."""
    return _blocks(content, param, {"text": _text})


def _blocks(content: object, param: str, known: dict[str, Callable[[Block, str], Block]]) -> list[Block]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for index, value in enumerate(as_list(content, param)):
        place = f"{param}[{index}]"
        part = as_object(value, place)
        translate = known.get(as_text(part.get("type"), f"{place}.type"))
        if translate is None:
            raise unsupported(f"A content part of type `{part['type']}`", f"{place}.type")
        block = translate(part, place)
        if block["type"] != "text" or block["text"].strip():
            blocks.append(_with_cache_control(block, part))
    return blocks


def _with_cache_control(block: Block, part: Block) -> Block:
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _text(part: Block, place: str) -> Block:
    return {"type": "text", "text": as_text(part.get("text"), f"{place}.text")}


def _refusal(part: Block, place: str) -> Block:
    return {"type": "text", "text": as_text(part.get("refusal"), f"{place}.refusal")}


def _image(part: Block, place: str) -> Block:
    image = part.get("image_url")
    url = image if isinstance(image, str) else as_object(image, f"{place}.image_url").get("url")
    return {"type": "image", "source": _image_source(as_text(url, f"{place}.image_url.url"), f"{place}.image_url.url")}


def _image_source(url: str, place: str) -> Block:
    if HTTPS.match(url):
        return {"type": "url", "url": url}
    named, data = _data_url(url, place)
    media_type = _seen_type(data) or IMAGE_TYPES.get(named)
    if media_type is None:
        raise unsupported(f"An image of type `{named}`", place, "Send JPEG, PNG, GIF or WebP.")
    return {"type": "base64", "media_type": media_type, "data": data}


def _seen_type(data: str) -> str | None:
    try:
        beginning = base64.b64decode(data[:MAX_BEGINNING])
    except ValueError:
        return None
    return next((name for name, begins in IMAGE_BYTES.items() if begins.match(beginning)), None)


def _file(part: Block, place: str) -> Block:
    file = as_object(part.get("file"), f"{place}.file")
    if file.get("file_data") is None:
        raise unsupported("A file by its id", f"{place}.file.file_id", "Send its bytes in `file_data`.")
    data = as_text(file["file_data"], f"{place}.file.file_data")
    block: Block = {"type": "document", "source": _file_source(data, f"{place}.file.file_data")}
    if isinstance(file.get("filename"), str) and file["filename"]:
        block["title"] = file["filename"]
    return block


def _file_source(url: str, place: str) -> Block:
    if HTTPS.match(url):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, place)
    if media_type == PDF or data.startswith(PDF_BYTES):
        return {"type": "base64", "media_type": PDF, "data": data}
    if media_type == "text/plain":
        return {"type": "text", "media_type": media_type, "data": _decoded(data, place)}
    raise unsupported(f"A file of type `{media_type}`", place, "Send PDF or plain text.")


def _data_url(url: str, place: str) -> tuple[str, str]:
    match = DATA_URL.match(url)
    if match is None:
        raise unsupported("A URL that is neither https nor base64 data", place)
    return match[1].lower(), url[match.end() :]


def _decoded(data: str, place: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unsupported("A text file that is not base64 of UTF-8", place) from None


def _audio(_: Block, place: str) -> Block:
    raise unsupported("Audio", f"{place}.type")


PARTS: dict[str, Callable[[Block, str], Block]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}
