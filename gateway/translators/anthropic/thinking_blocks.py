"""
Thinking that survives a round trip.

Anthropic signs each thinking block and wants it back unchanged, at its place, when the answer to a tool call follows.
An OpenAI message has no place for it, so our answers carry a field of their own, `thinking_blocks`, beside
`reasoning_content`; a client that sends the assistant message back as it came sends the blocks back too. `after` says
how many characters of text and how many tool calls came before a block; a block without it came first.
"""

from dataclasses import dataclass
from typing import Any

from gateway.translators.anthropic.shape import as_list

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


def interleaved(thoughts: list[Thought], texts: list[Block], calls: list[Block]) -> list[Block]:
    """The blocks of one assistant message in the order in which they came; Anthropic wants no thought at their end."""
    if not thoughts or not (texts or calls):
        return texts + calls
    blocks: list[Block] = []
    characters = tool_calls = 0
    for thought in thoughts:
        head, texts = _cut(texts, thought.characters - characters)
        characters = max(characters, thought.characters)
        blocks += head + calls[tool_calls : thought.tool_calls]
        tool_calls = max(tool_calls, thought.tool_calls)
        blocks.append(thought.block)
    blocks += texts + calls[tool_calls:]
    while blocks and blocks[-1]["type"] in FIELDS:
        blocks.pop()
    return blocks


def _cut(texts: list[Block], characters: int) -> tuple[list[Block], list[Block]]:
    """The first so many characters, and the rest; blank pieces say nothing and are refused."""
    head: list[Block] = []
    for index, block in enumerate(texts):
        text = block["text"]
        if characters < len(text):
            if characters > 0:
                head.append({"type": "text", "text": text[:characters]})
                block = {**block, "text": text[characters:]}
            rest = [block, *texts[index + 1 :]]
            return [one for one in head if one["text"].strip()], [one for one in rest if one["text"].strip()]
        characters -= len(text)
        head.append(block)
    return head, []
