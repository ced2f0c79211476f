"""Which block of a stream is which tool call or thought: OpenAI numbers each kind from 0, Anthropic all blocks."""

from typing import Any

import orjson

__all__ = ["OpenThoughts", "OpenTools"]


class _Numbers:
    """Positions of the blocks of one kind. An index that is used again starts a new block."""

    __slots__ = ("_by_index", "opened")

    def __init__(self) -> None:
        self.opened = 0
        self._by_index: dict[int, int] = {}

    def open(self, index: int) -> int:
        position = self._by_index[index] = self.opened
        self.opened += 1
        return position

    def get(self, index: int) -> int | None:
        return self._by_index.get(index)

    def close(self, index: int) -> None:
        self._by_index.pop(index, None)


class OpenThoughts:
    """Numbers the pieces of thinking blocks: OpenAI's SDK puts entries of a list together by their `index`."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = _Numbers()

    def open(self, index: int, piece: dict[str, Any]) -> dict[str, Any]:
        return {"index": self._numbers.open(index), **piece}

    def piece(self, index: int, piece: dict[str, Any]) -> dict[str, Any]:
        position = self._numbers.get(index)
        return {"index": self._numbers.open(index) if position is None else position, **piece}


class OpenTools:
    """A block that is not open here is no tool call of the client's: pieces of its input are nobody's arguments."""

    __slots__ = ("_numbers", "_unsent")

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._unsent: dict[int, str] = {}
        """Arguments to send at the end of a block whose input did not come in pieces."""

    @property
    def any_opened(self) -> bool:
        return self._numbers.opened > 0

    def open(self, index: int, *, id: str, name: str, input: object) -> dict[str, Any]:
        """The first delta of the call."""
        self._unsent[index] = orjson.dumps(input or {}).decode()
        function = {"name": name, "arguments": ""}
        return {"index": self._numbers.open(index), "id": id, "type": "function", "function": function}

    def arguments(self, index: int, text: str) -> dict[str, Any] | None:
        """The delta for a piece of the input; None when there is nothing to say."""
        position = self._numbers.get(index)
        if position is None or not text:
            return None
        self._unsent.pop(index, None)
        return {"index": position, "function": {"arguments": text}}

    def close(self, index: int) -> dict[str, Any] | None:
        """The delta with all arguments when none were sent: "{}" for a call without any."""
        last = self.arguments(index, self._unsent.get(index, ""))
        self._numbers.close(index)
        return last
