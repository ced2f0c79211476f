"""
The order that Anthropic demands of a conversation: who speaks, what a turn may hold, which tool results answer which
tool uses, what a thinking block must carry. Pure; `check_conversation` raises the first `Refused`.
"""

import base64
import hashlib
from typing import Any

from simulators.answers.models import Family
from simulators.faults.refusals import Refused

SIGNATURE_PREFIX = "sim1"
AFTER = ".after."
ONLY_IN = {"tool_use": "assistant", "thinking": "assistant", "redacted_thinking": "assistant"}
ONLY_IN |= dict.fromkeys(("tool_result", "image", "search_result"), "user")
IMAGES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def sign(thinking: str, after: str = "") -> str:
    """
    The signature of a thinking block, which a client must send back unchanged, and at its place: `after` is the type of
    the block before it, where it is not the first.
    """
    place = f"{AFTER}{after}." if after else ""
    return SIGNATURE_PREFIX + place + hashlib.sha256(f"thinking:{place}{thinking}".encode()).hexdigest()


def check_conversation(body: dict[str, Any], family: Family) -> None:
    """Refuse messages that could not follow each other."""
    messages = body["messages"]
    _roles(messages)
    for index, message in enumerate(messages):
        is_last = index == len(messages) - 1
        _content(message, index, may_be_empty=is_last and message["role"] == "assistant")
    turns = _turns(messages)
    _tool_results(turns)
    if turns[-1]["role"] == "assistant":
        _prefill(turns[-1], body, family)
    if (body.get("thinking") or {}).get("type") == "enabled":
        _thinking_comes_first(turns)


def _roles(messages: list[dict[str, Any]]) -> None:
    if not messages:
        raise Refused(400, "messages: at least one message is required")
    for message in messages:
        if message["role"] == "system":
            advice = 'The Messages API accepts a top-level `system` parameter, not "system" as an input message role.'
            raise Refused(400, f'messages: Unexpected role "system". {advice}')
        if message["role"] not in ("user", "assistant"):
            rule = 'Allowed roles are "user" or "assistant"'
            raise Refused(400, f'messages: Unexpected role "{message["role"]}". {rule}')
    if messages[0]["role"] != "user":
        raise Refused(400, 'messages: first message must use the "user" role')


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _content(message: dict[str, Any], index: int, may_be_empty: bool) -> None:
    if not message["content"]:
        if may_be_empty:
            return
        rule = "all messages must have non-empty content except for the optional final assistant message"
        raise Refused(400, f"messages.{index}: {rule}")
    before = ""
    for place, block in enumerate(_blocks(message)):
        _block(block, message["role"], f"messages.{index}.content.{place}", before)
        before = block["type"]


def _block(block: dict[str, Any], role: str, where: str, before: str) -> None:
    kind = block["type"]
    if kind == "text" and not block["text"]:
        raise Refused(400, "messages: text content blocks must be non-empty")
    if kind == "text" and not block["text"].strip():
        raise Refused(400, "messages: text content blocks must contain non-whitespace text")
    if ONLY_IN.get(kind, role) != role:
        raise Refused(400, f"{where}: `{kind}` blocks can only be in `{ONLY_IN[kind]}` messages")
    # The signature of thinking that was not shown belongs to text that the client never had.
    if kind == "thinking" and not _is_signed(block, before):
        raise Refused(400, f"{where}: Invalid `signature` in `thinking` block")

    if kind == "image" and block["source"]["type"] == "base64":
        _image(block["source"], f"{where}.image.source.base64")


def _image(source: dict[str, Any], where: str) -> None:
    """The bytes must be what the media type says, as far as they are known."""
    try:
        begin = base64.b64decode(source["data"][:8])
    except ValueError:
        raise Refused(400, f"{where}.data: invalid base64 data") from None
    seen = next((name for magic, name in IMAGES.items() if begin.startswith(magic)), source["media_type"])
    if seen != source["media_type"]:
        named = f"The image was specified using the {source['media_type']} media type"
        raise Refused(400, f"{where}: {named}, but the image appears to be a {seen} image")


def _is_signed(block: dict[str, Any], before: str) -> bool:
    signature, after = block["signature"], before if AFTER in block["signature"] else ""
    if not block["thinking"]:
        return signature.startswith(SIGNATURE_PREFIX) and (not after or f"{AFTER}{after}." in signature)
    return bool(signature == sign(block["thinking"], after))


def _turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive messages of one role are one turn."""
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += _blocks(message)
        else:
            turns.append({"role": message["role"], "content": list(_blocks(message)), "index": index})
    return turns


def _tool_results(turns: list[dict[str, Any]]) -> None:
    uses: list[str] = []
    seen: set[str] = set()
    for turn in turns:
        if turn["role"] == "user":
            _answers(turn, uses)
            uses = []
        else:
            uses = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
            if len(set(uses)) < len(uses) or seen & set(uses):
                raise Refused(400, f"messages.{turn['index']}: `tool_use` ids must be unique")
            seen |= set(uses)


def _answers(turn: dict[str, Any], uses: list[str]) -> None:
    index = turn["index"]
    leading: list[str] = []
    for place, block in enumerate(turn["content"]):
        if block["type"] != "tool_result":
            continue
        answered = block["tool_use_id"]
        if answered not in uses:
            rule = "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            found = f"unexpected `tool_use_id` found in `tool_result` blocks: {answered}"
            raise Refused(400, f"messages.{index}.content.{place}: {found}. {rule}")
        if answered in leading:
            rule = f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: {answered}"
            raise Refused(400, f"messages.{index}.content.{place}: {rule}")
        if place == len(leading):
            leading.append(answered)
    missing = [use for use in uses if use not in leading]
    if missing:
        found = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
        rule = "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        raise Refused(400, f"messages.{index}: {found}. {rule}")


def _prefill(turn: dict[str, Any], body: dict[str, Any], family: Family) -> None:
    if not family.prefill:
        rule = "The conversation must end with a user message."
        raise Refused(400, f"This model does not support assistant message prefill. {rule}")
    if any(block["type"] == "tool_use" for block in turn["content"]):
        ids = ", ".join(block["id"] for block in turn["content"] if block["type"] == "tool_use")
        found = f"`tool_use` ids were found without `tool_result` blocks immediately after: {ids}"
        raise Refused(400, f"messages.{turn['index']}: {found}.")
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        raise Refused(400, "messages: prefilling assistant messages is not supported when thinking is enabled")
    last = turn["content"][-1] if turn["content"] else {"type": "text", "text": ""}
    if last["type"] == "text" and last["text"] != last["text"].rstrip():
        raise Refused(400, "messages: final assistant content cannot end with trailing whitespace")


def _thinking_comes_first(turns: list[dict[str, Any]]) -> None:
    """While tool results are being delivered, the turn that asked for them must still begin with its thinking."""
    if turns[-1]["content"][0]["type"] != "tool_result":
        return
    first = turns[-2]["content"][0]["type"]
    if first not in ("thinking", "redacted_thinking"):
        rule = "When `thinking` is enabled, a final `assistant` message must start with a thinking block"
        found = f"Expected `thinking` or `redacted_thinking`, but found `{first}`"
        raise Refused(400, f"messages.{turns[-2]['index']}.content.0.type: {found}. {rule}.")
