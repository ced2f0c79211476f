"""
An answer in Anthropic's words: the message object, or its events from message_start to message_stop.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any
from uuid import uuid4

import orjson

from simulators.answers.answers import Answer
from simulators.answers.replies import Frame, Request, grouped
from simulators.anthropic.conversation import sign
from simulators.faults.record import Usage

STOP_REASONS = {"end": "end_turn", "stop": "stop_sequence", "length": "max_tokens", "tools": "tool_use"}
PLACEHOLDER_OUTPUT_TOKENS = 1
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
Delta = tuple[dict[str, Any], tuple[str, ...]]
Block = tuple[dict[str, Any], list[Delta]]


class AnthropicReply:
    def __init__(self, request: Request, answer: Answer, usage: Usage) -> None:
        self.usage = usage
        self._request = request
        self._script = request.script
        self._answer = answer
        self._id = f"msg_{uuid4().hex[:24]}"

    def whole(self) -> bytes:
        message = self._message()
        message["content"] = [_filled(start, deltas) for start, deltas in self._blocks]
        message |= self._ending
        if self._script.usage == "none":
            del message["usage"]
        else:
            message["usage"] = self._usage(self._output_tokens) | self._details
        return orjson.dumps(message)

    def frames(self) -> Iterator[Frame]:
        """message_start, the blocks with one ping after the first start, message_delta, message_stop."""
        yield Frame(_event({"type": "message_start", "message": self._message()}))
        for index, (start, deltas) in enumerate(self._blocks):
            opening = _event({"type": "content_block_start", "index": index, "content_block": start})
            yield Frame(opening)
            if index == 0:
                yield Frame(PING)
            for delta, tokens in deltas:
                yield self._delta(index, delta, tokens)
            yield Frame(_event({"type": "content_block_stop", "index": index}), closing=index == len(self._blocks) - 1)
        yield Frame(_event(self._message_delta()), closing=True)
        yield Frame(_event({"type": "message_stop"}), closing=True, last=True)

    def _delta(self, index: int, delta: dict[str, Any], tokens: tuple[str, ...]) -> Frame:
        thinks = delta["type"] == "thinking_delta"
        return Frame(
            _event({"type": "content_block_delta", "index": index, "delta": delta}),
            output_tokens=0 if thinks else len(tokens),
            reasoning_tokens=len(tokens) if thinks else 0,
            content=True,
        )

    def _message_delta(self) -> dict[str, Any]:
        event: dict[str, Any] = {"type": "message_delta", "delta": self._ending}
        if self._script.usage == "none":
            return event
        usage = {"output_tokens": self._output_tokens, **self._details}
        if self._script.usage in ("repeat", "late_split"):
            usage = self._usage(self._output_tokens) | self._details
            del usage["service_tier"], usage["cache_creation"]
        return {**event, "usage": usage}

    def _message(self) -> dict[str, Any]:
        """The message before it has content; its output_tokens are a placeholder, as the provider's are."""
        usage = self._usage(0 if self._script.usage == "zero" else PLACEHOLDER_OUTPUT_TOKENS)
        if self._script.usage == "none":
            usage = {"input_tokens": 0, "output_tokens": 0}
        elif self._script.usage == "late_split":
            usage = {"input_tokens": self.usage.prompt_tokens, "output_tokens": 0}
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._request.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        usage = self.usage
        whole = {"inclusive": usage.prompt_tokens, "input_zero": 0}
        return {
            "input_tokens": whole.get(self._script.usage, usage.input_tokens),
            "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }

    @property
    def _output_tokens(self) -> int:
        return self.usage.completion_tokens

    @property
    def _details(self) -> dict[str, Any]:
        thinking = self.usage.reasoning_tokens
        return {"output_tokens_details": {"thinking_tokens": thinking}} if thinking else {}

    @property
    def _ending(self) -> dict[str, Any]:
        reason = "refusal" if self._script.refusal else self._script.finish or STOP_REASONS[self._answer.ended]
        ending: dict[str, Any] = {"stop_reason": reason, "stop_sequence": self._answer.stop}
        if reason == "refusal":
            ending["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
        return ending

    @cached_property
    def _blocks(self) -> list[Block]:
        thinking, text = self._answer.thinking, list(self._text_blocks())
        half = len(thinking) // 2 if self._script.interleaved and text else len(thinking)
        first, second = thinking[:half], thinking[half:]
        return [
            *self._thinking_blocks(first),
            *self._redacted_blocks(),
            *text,
            *self._thinking_blocks(second, after="text"),
            *self._tool_blocks(),
        ]

    def _thinking_blocks(self, thinking: tuple[str, ...], after: str = "") -> Iterator[Block]:
        if not thinking:
            return
        is_shown = (self._request.body.get("thinking") or {}).get("display") != "omitted"
        deltas: list[Delta] = [
            ({"type": "thinking_delta", "thinking": "".join(tokens) if is_shown else ""}, tokens)
            for tokens in grouped(thinking, self._script.chunk_words)
        ]
        deltas.append(({"type": "signature_delta", "signature": sign("".join(thinking), after)}, ()))
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas

    def _redacted_blocks(self) -> Iterator[Block]:
        if self._script.redacted and self._answer.thinking:
            yield {"type": "redacted_thinking", "data": sign("redacted")}, []

    def _text_blocks(self) -> Iterator[Block]:
        if self._answer.words and not self._script.refusal:
            groups = grouped(self._answer.words, self._script.chunk_words)
            yield {"type": "text", "text": ""}, [({"type": "text_delta", "text": "".join(one)}, one) for one in groups]

    def _tool_blocks(self) -> Iterator[Block]:
        for call in self._answer.calls:
            groups = grouped(call.fragments, self._script.chunk_words)
            # The provider opens the arguments with an empty fragment.
            deltas: list[Delta] = [({"type": "input_json_delta", "partial_json": ""}, ())]
            deltas += [({"type": "input_json_delta", "partial_json": "".join(one)}, one) for one in groups]
            start = {"type": "tool_use", "id": f"toolu_{uuid4().hex[:24]}", "name": call.tool.name, "input": {}}
            yield start, deltas


def _filled(start: dict[str, Any], deltas: list[Delta]) -> dict[str, Any]:
    """A block as it is when its stream has ended."""
    block = dict(start)
    arguments = ""
    for delta, _ in deltas:
        for name in ("text", "thinking", "signature"):
            if name in delta:
                block[name] += delta[name]
        arguments += delta.get("partial_json", "")
    if block["type"] == "tool_use":
        block["input"] = _parsed(arguments)
    return block


def _parsed(arguments: str) -> Any:
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}  # Cut by max_tokens: the provider returns what it could read, which is nothing.


def _event(event: dict[str, Any]) -> bytes:
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
