"""
Thinking that survives a round trip.

Anthropic signs each thinking block and wants it back unchanged when the answer to a tool call follows. An OpenAI
message has no place for it, so our answers carry a field of their own, `thinking_blocks`, beside `reasoning_content`;
a client that sends the assistant message back as it came sends the blocks back too.
"""

from typing import Any

from gateway.errors import InvalidRequest
from gateway.translators.anthropic.shape import as_list, as_object

__all__ = ["FIELDS", "thinking_blocks"]

FIELDS = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}


def thinking_blocks(value: object, place: str) -> list[dict[str, Any]]:
    """The blocks of an assistant message, in their order, without the `index` that streams add."""
    if value is None:
        return []
    return [_block(block, f"{place}[{index}]") for index, block in enumerate(as_list(value, place))]


def _block(value: object, place: str) -> dict[str, Any]:
    block = as_object(value, place)
    names = FIELDS.get(str(block.get("type")))
    if names is None or not all(isinstance(block.get(name), str) for name in names):
        raise InvalidRequest(f"`{place}` must be a thinking block of an answer, with its signature.", param=place)
    return {"type": block["type"], **{name: block[name] for name in names}}
