"""What an error says, in whatever form it comes: bounded, and without keys."""

import re
from typing import Any

import orjson

__all__ = ["message_of", "other_members", "place_of", "shown"]

MAX_MESSAGE = 1_000
MAX_SEARCHED = 16_000
"""Characters of a text that are searched for keys: an error may come as a whole answer, of 64 MiB."""
MAX_ITEMS = 20
"""Of one list: reasons, or steps of a path."""
MAX_OTHER_BYTES = 4_096
NAMED = {"message", "type", "code", "param"}
"""Members of an error that have a field of their own."""
TEXTS = ("message", "detail", "msg", "error", "errors", "title", "Message")
"""Where frameworks put their reason: FastAPI `detail` and `msg`, Mistral `message.detail`, others."""
DEEPEST = 4
PARTS_OF_A_BODY = ("body", "query", "header", "path")

KEY = re.compile(r"\bBearer +[A-Za-z0-9._~+/=-]+|\b(?:sk|pk|rk|gsk|xai|key|AIza)[-_]?[A-Za-z0-9*_-]{4,}", re.IGNORECASE)
ALWAYS_A_KEY = re.compile(r"bearer |gsk_|xai-|aiza|[spr]k[-_](?:proj|ant|or|live|test)[-_]|sk-[a-z0-9]{8,}$", re.I)
SEGMENT = re.compile(r"[A-Za-z0-9]{8,}")
MIN_DIGITS = 3


def shown(text: str) -> str:
    """As much of a provider's words as anybody is shown."""
    return _without_keys(text[:MAX_SEARCHED])[:MAX_MESSAGE]


def _without_keys(text: str) -> str:
    """Words that only begin like a key (`key_value`, `pk_orders`, `sk-learn`) stay: a key is not pronounceable."""
    return KEY.sub(lambda found: "[key]" if _is_key(found[0]) else found[0], text)


def _is_key(text: str) -> bool:
    if ALWAYS_A_KEY.match(text) or "*" in text:
        return True
    return any(sum(map(str.isdigit, segment)) >= MIN_DIGITS for segment in SEGMENT.findall(text))


def message_of(value: object) -> str | None:
    """The reason that a JSON value holds: a text, an object with one, or a list of such."""
    text = _text(value, DEEPEST)
    return shown(text) if text else None


def _text(value: object, depth: int) -> str | None:
    if isinstance(value, str) or depth == 0:
        return value if isinstance(value, str) else None
    if isinstance(value, list):
        items = [item for item in value[:MAX_ITEMS] if isinstance(item, dict)]
        texts = [text for item in items if (text := _text(item, depth - 1))]
        return "; ".join(texts) or None
    if not isinstance(value, dict):
        return None
    text = next((text for name in TEXTS if (text := _text(value.get(name), depth - 1))), None)
    place = place_of(value.get("loc"))
    return f"{place}: {text}" if place and text else text


def place_of(loc: object) -> str | None:
    """FastAPI's list of names and indices as a path: `messages[0].content`."""
    if not isinstance(loc, list):
        return None
    path = ""
    for index, step in enumerate(loc[:MAX_ITEMS]):
        if index == 0 and step in PARTS_OF_A_BODY:
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")[:MAX_MESSAGE] or None


def other_members(error: dict[str, Any]) -> dict[str, Any]:
    """What else an error object holds (Azure's `innererror`, Groq's `failed_generation`), unless it is large."""
    others = {name: value for name, value in error.items() if name not in NAMED and value is not None}
    if not others:
        return {}
    try:
        text = orjson.dumps(others)
    except orjson.JSONEncodeError:
        return {}
    if len(text) > MAX_OTHER_BYTES:
        return {}
    cleaned: dict[str, Any] = orjson.loads(_without_keys(text.decode()))
    return cleaned
