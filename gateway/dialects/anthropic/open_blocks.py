"""The blocks of a stream: OpenAI numbers tool calls from 0, Anthropic all blocks; thoughts are kept until the end."""

from typing import Any

from gateway.dialects.anthropic.thinking_blocks import Thought, written

__all__ = ["MAX_THOUGHT_CHARACTERS", "OpenThoughts", "OpenTools"]

MAX_THOUGHT_CHARACTERS = 1_000_000
"""Far more than a model thinks: a stream that exceeds it is answered without `thinking_blocks`."""


class OpenThoughts:
    """
    Puts thinking blocks together.

    They are sent whole and all at once, because OpenAI's SDKs join pieces differently: Python's merges lists by
    `index`, Node's keeps only the last one that came.
    """

    __slots__ = ("_by_index", "_characters", "_opened")

    def __init__(self) -> None:
        self._opened: list[_OpenThought] = []
        self._by_index: dict[int, _OpenThought] = {}
        self._characters = 0

    def open(self, index: int, block: dict[str, str], *, characters: int, tool_calls: int) -> None:
        """`block` is as it starts. An index that is used again starts a new one."""
        thought = self._by_index[index] = _OpenThought(block, characters, tool_calls)
        self._opened.append(thought)
        self._characters += sum(map(len, block.values()))

    def add(self, index: int, field: str, text: str) -> None:
        """A piece of a block; of one that was never opened the place is unknown."""
        self._characters += len(text)
        thought = self._by_index.get(index)
        if thought is not None and self._characters <= MAX_THOUGHT_CHARACTERS:
            thought.pieces.append((field, text))

    @property
    def whole(self) -> list[dict[str, Any]]:
        """All blocks, for one delta at the end."""
        if self._characters > MAX_THOUGHT_CHARACTERS:
            return []
        return [{"index": index, **written(thought.joined())} for index, thought in enumerate(self._opened)]


class _OpenThought:
    __slots__ = ("_block", "_place", "pieces")

    def __init__(self, block: dict[str, str], characters: int, tool_calls: int) -> None:
        self._block = block
        self._place = (characters, tool_calls)
        self.pieces: list[tuple[str, str]] = []

    def joined(self) -> Thought:
        fields = {name: [start] for name, start in self._block.items()}
        for name, text in self.pieces:
            fields.setdefault(name, []).append(text)
        return Thought({name: "".join(texts) for name, texts in fields.items()}, *self._place)


class OpenTools:
    """A block that is not open here is no tool call of the client's: pieces of its input are dropped."""

    __slots__ = ("_by_index", "_unsent", "opened")

    def __init__(self) -> None:
        self.opened = 0
        self._by_index: dict[int, int] = {}
        self._unsent: dict[int, str] = {}
        """Arguments to send at the end of a block whose input did not come in pieces."""

    def open(self, index: int, *, id: str, name: str, input: str) -> dict[str, Any]:
        """The first delta of the call. An index that is used again starts a new one."""
        self._unsent[index] = input
        position = self._by_index[index] = self.opened
        self.opened += 1
        return {"index": position, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}

    def arguments(self, index: int, text: str) -> dict[str, Any] | None:
        """The delta for a piece of the input; None when there is nothing to say."""
        position = self._by_index.get(index)
        if position is None or not text:
            return None
        self._unsent.pop(index, None)
        return {"index": position, "function": {"arguments": text}}

    def close(self, index: int) -> dict[str, Any] | None:
        """The delta with all arguments when none were sent: "{}" for a call without any."""
        last = self.arguments(index, self._unsent.get(index, ""))
        self._by_index.pop(index, None)
        return last
