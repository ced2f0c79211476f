"""Frames of a streamed chat completion, written around each delta."""

from typing import Any

import orjson

__all__ = ["DONE", "ChunkWriter"]

DONE = b"data: [DONE]\n\n"


class ChunkWriter:
    """What stays the same in every chunk of one answer is encoded once."""

    __slots__ = ("_envelope", "_head", "_tail", "_usage_field")

    def __init__(self, *, id: str, model: str, created: int, wants_usage: bool) -> None:
        self._envelope = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._usage_field = b',"usage":null' if wants_usage else b""  # As OpenAI does when usage was asked for.
        self._head = b"data: " + orjson.dumps(self._envelope)[:-1] + b',"choices":[{"index":0,"delta":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._usage_field + b"}\n\n"

    def delta(self, delta: dict[str, Any]) -> bytes:
        return self._head + orjson.dumps(delta) + self._tail

    def finish(self, reason: str) -> bytes:
        return (
            self._head
            + b'{},"logprobs":null,"finish_reason":"'
            + reason.encode()
            + b'"}]'
            + self._usage_field
            + b"}\n\n"
        )

    def usage(self, usage: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({**self._envelope, "choices": [], "usage": usage}) + b"\n\n"
