"""Which content block of a stream is which tool call: OpenAI numbers the calls from 0, Anthropic numbers all blocks."""

from typing import Any

import orjson

__all__ = ["OpenTools"]


class OpenTools:
    """A block that is not open here is no tool call of the client's: pieces of its input are nobody's arguments."""

    __slots__ = ("_opened", "_positions", "_unsent")

    def __init__(self) -> None:
        self._opened = 0
        self._positions: dict[int, int] = {}
        self._unsent: dict[int, str] = {}
        """Arguments to send at the end of a block whose input did not come in pieces."""

    @property
    def any_opened(self) -> bool:
        return self._opened > 0

    def open(self, index: int, *, id: str, name: str, input: object) -> dict[str, Any]:
        """The first delta of the call. An index that is used again starts a new call."""
        position = self._positions[index] = self._opened
        self._unsent[index] = orjson.dumps(input or {}).decode()
        self._opened += 1
        return {"index": position, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}

    def arguments(self, index: int, text: str) -> dict[str, Any] | None:
        """The delta for a piece of the input; None when there is nothing to say."""
        position = self._positions.get(index)
        if position is None or not text:
            return None
        self._unsent.pop(index, None)
        return {"index": position, "function": {"arguments": text}}

    def close(self, index: int) -> dict[str, Any] | None:
        """The delta with all arguments when none were sent: "{}" for a call without any."""
        last = self.arguments(index, self._unsent.get(index, ""))
        self._positions.pop(index, None)
        return last
