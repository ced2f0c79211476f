"""
The conversation. Anthropic knows two roles that take turns, and one system prompt in front of everything.

System and developer messages move to the top, in their order. Neighbours of one role become one message. Results of
tools are part of the user's turn and come first in it, because Anthropic wants them right after the calls. The user has
the first word and the last: where the client left that to a system message, its text becomes the user's turn; where
the user said nothing, a placeholder stands for it.
"""

from typing import Any

from gateway.dialects.anthropic.content_parts import Block, content_blocks, text_blocks
from gateway.dialects.anthropic.shape import as_list, unsupported
from gateway.dialects.anthropic.thinking_blocks import interleaved, thoughts
from gateway.dialects.anthropic.tool_calls import tool_result, tool_use
from gateway.dialects.anthropic.tool_ids import ToolIds

__all__ = ["conversation"]

SYSTEM = ("system", "developer")
NOTHING_SAID = "(no message)"
"""An empty turn of the user's, or one that is missing before the assistant's first: Anthropic refuses both."""


def conversation(
    messages: list[dict[str, Any]], *, may_begin_answer: bool = True
) -> tuple[list[Block], list[dict[str, Any]]]:
    """
    System blocks and messages. Raises InvalidRequest, with the place in `param`.

    `may_begin_answer`: the model takes an assistant's message at the end for the beginning of its answer.
    """
    system: list[list[Block]] = []
    turns: list[dict[str, Any]] = []
    ids = ToolIds()
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        role = message["role"]
        if role in SYSTEM:
            blocks = _marked(message, text_blocks(message.get("content"), f"{place}.content"))
            system += [blocks] if blocks else []
            continue
        if role not in BLOCKS:
            raise unsupported(f"A message of role `{role}`", f"{place}.role")
        _append(turns, "assistant" if role == "assistant" else "user", BLOCKS[role](message, place, ids))
    _let_the_user_end(turns, system, messages[-1]["role"], may_begin_answer)
    for turn in turns:
        if len(turn["content"]) > 1:
            turn["content"].sort(key=_after_results)
    return [block for blocks in system for block in blocks], turns


def _append(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        if not turns and role == "assistant":
            turns.append(_nothing_said())
        turns.append({"role": role, "content": blocks})


def _let_the_user_end(
    turns: list[dict[str, Any]], system: list[list[Block]], last_role: str, may_begin_answer: bool
) -> None:
    if turns and turns[-1]["role"] == "user":
        return
    if turns and last_role == "assistant" and may_begin_answer:
        _trim(turns[-1]["content"][-1])
    elif system and (not turns or last_role in SYSTEM):
        turns.append({"role": "user", "content": system.pop()})
    else:
        turns.append(_nothing_said())


def _trim(block: Block) -> None:
    """Anthropic refuses white space at the end of a beginning."""
    if block["type"] == "text":
        block["text"] = block["text"].rstrip()


def _nothing_said() -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": NOTHING_SAID}]}


def _after_results(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


def _marked(message: dict[str, Any], blocks: list[Block]) -> list[Block]:
    """`cache_control` beside a message's content belongs to its last block."""
    if blocks and message.get("cache_control") is not None:
        blocks[-1]["cache_control"] = message["cache_control"]
    return blocks


def _user(message: dict[str, Any], place: str, _: ToolIds) -> list[Block]:
    return _marked(message, content_blocks(message.get("content"), f"{place}.content"))


def _assistant(message: dict[str, Any], place: str, ids: ToolIds) -> list[Block]:
    if message.get("function_call") is not None:
        raise unsupported("The old `function_call`", f"{place}.function_call", "Send `tool_calls`.")
    if message.get("audio") is not None:
        raise unsupported("Audio", f"{place}.audio")
    texts = content_blocks(message.get("content"), f"{place}.content")
    texts += content_blocks(message.get("refusal"), f"{place}.refusal")
    calls = as_list(message.get("tool_calls") or [], f"{place}.tool_calls")
    uses = [tool_use(call, f"{place}.tool_calls[{index}]", ids) for index, call in enumerate(calls)]
    before = thoughts(message.get("thinking_blocks"), f"{place}.thinking_blocks")
    return _marked(message, interleaved(before, texts, uses))


def _tool(message: dict[str, Any], place: str, ids: ToolIds) -> list[Block]:
    return _marked(message, [tool_result(message, place, ids)])


BLOCKS = {"user": _user, "assistant": _assistant, "tool": _tool}
