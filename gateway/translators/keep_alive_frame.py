"""A chunk that says nothing, in the OpenAI schema, and how an answer goes on after one."""

import re

import orjson

__all__ = ["keep_alive_frame", "without_role"]

ROLE = re.compile(rb'"role"\s*:\s*"assistant"\s*,\s*|\s*,\s*"role"\s*:\s*"assistant"|"role"\s*:\s*"assistant"')


def keep_alive_frame(*, id: str, model: str, created: int, first: bool) -> bytes:
    """`first`: nothing of the answer has been sent."""
    delta = {"role": "assistant", "content": ""} if first else {}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    chunk = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def without_role(events: bytes) -> bytes:
    """The beginning of an answer whose role has been sent: clients that add up deltas would add up the role as well.

    A quote inside a JSON text is escaped, so the pattern is never part of one.
    """
    return ROLE.sub(b"", events, count=1)
