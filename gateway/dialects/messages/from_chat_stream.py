"""
A streamed chat completion as Anthropic's events. What the chat's own translator lets through is taken apart once more:
whatever kind of upstream it understands, clients of the Messages API can be answered by it.

    the first chunk         message_start
    content                 content_block_start (text), content_block_delta
    tool_calls              content_block_start (tool_use), content_block_delta with pieces of the input
    the end                 content_block_stop of every block, message_delta with the counts, message_stop
"""

from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.error_object import load_object
from gateway.dialects.messages.error_body import error_event
from gateway.dialects.messages.message import stop_reason, usage_of
from gateway.dialects.sse import SSEDecoder
from gateway.dialects.translator import StreamTranslator
from gateway.failure import UpstreamFailure

__all__ = ["ChatToMessagesStream"]

BAD_GATEWAY = 502


class ChatToMessagesStream:
    """The StreamTranslator around that of a chat."""

    def __init__(self, chat: StreamTranslator) -> None:
        self._chat = chat
        self._decoder = SSEDecoder()
        self._started = False
        self._text: int | None = None
        """The index of the text block, if there is one."""
        self._tools: dict[int, int] = {}
        """The index of the block of each tool call, by the call's own."""
        self._finish_reason: object = None
        self._refused = False

    @property
    def committed(self) -> bool:
        return self._chat.committed

    @property
    def finished(self) -> bool:
        return self._chat.finished

    @property
    def failure(self) -> UpstreamFailure | None:
        return self._chat.failure

    @property
    def usage(self) -> TokenUsage | None:
        return self._chat.usage

    @property
    def usage_flaw(self) -> str | None:
        return self._chat.usage_flaw

    @property
    def oddity(self) -> str | None:
        return self._chat.oddity

    @property
    def service_tier(self) -> str:
        return self._chat.service_tier

    @property
    def delivered_output(self) -> int:
        return self._chat.delivered_output

    @property
    def response_id(self) -> str | None:
        return self._chat.response_id

    @property
    def response_model(self) -> str | None:
        return self._chat.response_model

    def feed(self, chunk: bytes) -> bytes:
        before = self._chat.finished
        return self._translate(self._chat.feed(chunk), ended=self._chat.finished and not before)

    def end(self) -> bytes:
        before = self._chat.finished
        return self._translate(self._chat.end(), ended=self._chat.finished and not before)

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        return error_event(message, BAD_GATEWAY, code)

    def _translate(self, passed: bytes, *, ended: bool) -> bytes:
        events: list[bytes] = []
        for event in self._decoder.feed(passed) if passed else ():
            document = load_object(event.data)  # None for [DONE].
            if document is not None:
                self._chunk(document, events)
        if ended:
            self._finish(events)
        return b"".join(events)

    def _chunk(self, document: dict[str, Any], events: list[bytes]) -> None:
        if not self._started:
            self._start(document, events)
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        self._refused = self._refused or bool(delta.get("refusal"))
        text = delta.get("content") or delta.get("refusal")
        if isinstance(text, str) and text:
            self._add_text(text, events)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add_call(call, events)

    def _start(self, document: dict[str, Any], events: list[bytes]) -> None:
        self._started = True
        message: dict[str, Any] = {
            "id": str(document.get("id") or ""),
            "type": "message",
            "role": "assistant",
            "model": str(document.get("model") or ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(None),  # Known at the end only; `message_delta` has it.
        }
        events.append(_event("message_start", message=message))

    def _add_text(self, text: str, events: list[bytes]) -> None:
        if self._text is None:
            self._text = self._open({"type": "text", "text": ""}, events)
        events.append(_event("content_block_delta", index=self._text, delta={"type": "text_delta", "text": text}))

    def _add_call(self, call: dict[str, Any], events: list[bytes]) -> None:
        number = call.get("index")
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        key = number if type(number) is int else len(self._tools)
        if key not in self._tools:
            names = {"id": str(call.get("id") or ""), "name": str(function.get("name") or "")}
            self._tools[key] = self._open({"type": "tool_use", **names, "input": {}}, events)
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            delta = {"type": "input_json_delta", "partial_json": arguments}
            events.append(_event("content_block_delta", index=self._tools[key], delta=delta))

    def _open(self, block: dict[str, Any], events: list[bytes]) -> int:
        index = len(self._tools) + (self._text is not None)
        events.append(_event("content_block_start", index=index, content_block=block))
        return index

    def _finish(self, events: list[bytes]) -> None:
        if not self._started:
            self._start({}, events)
        blocks = [self._text, *self._tools.values()]
        events += [_event("content_block_stop", index=index) for index in blocks if index is not None]
        delta = {"stop_reason": stop_reason(self._finish_reason, refused=self._refused), "stop_sequence": None}
        events.append(_event("message_delta", delta=delta, usage=usage_of(self._chat.usage)))
        events.append(_event("message_stop"))


def _event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))
