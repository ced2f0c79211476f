"""A chunk that says nothing, in the OpenAI schema, and how an answer goes on after one."""

import re

import orjson

from gateway.dialects.error_object import load_object

__all__ = ["keep_alive_frame", "without_role"]

EVENT = re.compile(rb"(?:[^\n]+\n)+\n")
ROLE = re.compile(rb'"role"\s*:\s*"assistant"\s*,\s*|\s*,\s*"role"\s*:\s*"assistant"|"role"\s*:\s*"assistant"')


def keep_alive_frame(*, id: str, model: str, created: int, first: bool) -> bytes:
    """`first`: nothing of the answer has been sent."""
    delta = {"role": "assistant", "content": ""} if first else {}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    chunk = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def without_role(events: bytes) -> bytes:
    """The beginning of an answer, the role of whose first choice has been sent: clients that add up deltas would add up
    the role as well."""
    for event in EVENT.finditer(events):
        changed = _without_role(event.group())
        if changed is not None:
            return events[: event.start()] + changed + events[event.end() :]
    return events


def _without_role(event: bytes) -> bytes | None:
    """None for an event that does not name the role of the first choice.

    A quote inside a JSON text is escaped, so the pattern is never part of one.
    """
    if not ROLE.search(event):
        return None
    document = load_object(event.removeprefix(b"data:"))
    choices = document.get("choices") if document is not None else None
    if document is None or not isinstance(choices, list):
        return None
    deltas = [choice.get("delta") for choice in choices if isinstance(choice, dict) and not choice.get("index")]
    named = [delta for delta in deltas if isinstance(delta, dict) and delta.pop("role", None) is not None]
    if not named:
        return None
    return ROLE.sub(b"", event, count=1) if len(choices) == 1 else b"data: " + orjson.dumps(document) + b"\n\n"
