"""
Thinking that survives a round trip.

Anthropic signs each thinking block and wants it back unchanged, at its place, when the answer to a tool call follows.
An OpenAI message has no place for it, so our answers carry a field of their own, `thinking_blocks`, beside
`reasoning_content`; a client that sends the assistant message back as it came sends the blocks back too. `after` says
how many characters of text and how many tool calls came before a block; a block without it came first.
"""

import sys
from dataclasses import dataclass
from typing import Any

from gateway.dialects.anthropic.shape import as_list

__all__ = ["FIELDS", "Thought", "interleaved", "thoughts", "written"]

Block = dict[str, Any]

FIELDS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
NEVER_EMPTY = ("signature", "data")


@dataclass(frozen=True, slots=True)
class Thought:
    """A thinking block and its place in the message."""

    block: Block
    characters: int = 0
    tool_calls: int = 0


def written(thought: Thought) -> Block:
    """The block as our answers show it."""
    if not thought.characters and not thought.tool_calls:
        return thought.block
    return {**thought.block, "after": {"characters": thought.characters, "tool_calls": thought.tool_calls}}


def thoughts(value: object, place: str) -> list[Thought]:
    """
    What a client sent back; empty when any of it can't be used.

    Clients lose parts of a field that they don't know, and Anthropic refuses a block without its signature. An answer
    without the earlier thinking is better than none, and half of the thinking would be a changed turn.
    """
    if value is None:
        return []
    blocks = as_list(value, place)
    read = [thought for block in blocks if (thought := _read(block)) is not None]
    return read if len(read) == len(blocks) else []


def _read(value: object) -> Thought | None:
    block = value if isinstance(value, dict) else {}
    names = FIELDS.get(str(block.get("type")))
    if names is None:
        return None
    fields = {
        name: block.get(name, "" if name == "thinking" else None) for name in names
    }  # Hidden thinking has no text.
    if not all(isinstance(text, str) and (text or name not in NEVER_EMPTY) for name, text in fields.items()):
        return None
    after = block.get("after")
    before = after if isinstance(after, dict) else {}
    return Thought(
        {"type": block["type"], **fields}, _count(before.get("characters")), _count(before.get("tool_calls"))
    )


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def interleaved(thoughts: list[Thought], parts: list[Block], calls: list[Block]) -> list[Block]:
    """The blocks of one assistant message in the order in which they came; Anthropic wants no thought at their end."""
    if not thoughts or not (parts or calls):
        return parts + calls
    blocks: list[Block] = []
    cut = _Cut(parts)
    characters = tool_calls = 0
    for thought in thoughts:
        blocks += cut.take(thought.characters - characters) + calls[tool_calls : thought.tool_calls]
        characters = max(characters, thought.characters)
        tool_calls = max(tool_calls, thought.tool_calls)
        blocks.append(thought.block)
    blocks += cut.rest() + calls[tool_calls:]
    while blocks and blocks[-1]["type"] in FIELDS:
        blocks.pop()
    return blocks


class _Cut:
    """Takes the content apart from its front, each character once. Blank pieces say nothing, and are refused."""

    def __init__(self, parts: list[Block]) -> None:
        self._parts = parts
        self._index = 0
        self._start = 0
        """In the part at `_index`."""

    def take(self, characters: int) -> list[Block]:
        """The next so many characters; pictures and documents have none, and come with what follows them."""
        taken = []
        while characters > 0 and self._index < len(self._parts):
            piece = self._piece(characters)
            characters -= len(piece.get("text", ""))
            taken.append(piece)
        return [piece for piece in taken if piece.get("text", ".").strip()]

    def rest(self) -> list[Block]:
        pieces = [self._piece(sys.maxsize) for _ in range(self._index, len(self._parts))]
        return [piece for piece in pieces if piece.get("text", ".").strip()]

    def _piece(self, characters: int) -> Block:
        part, start = self._parts[self._index], self._start
        text = part.get("text", "")
        if characters < len(text) - start:
            self._start = start + characters
            return {"type": "text", "text": text[start : self._start]}
        self._index += 1
        self._start = 0
        return {**part, "text": text[start:]} if start else part
