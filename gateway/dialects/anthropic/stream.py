"""
A streamed answer: Anthropic's events become OpenAI's chunks.

    message_start           the chunk with the role
    content_block_start     a tool call's id and name
    content_block_delta     text, reasoning, a piece of a tool call's arguments
    content_block_stop      "{}" for a tool call that got no arguments
    message_delta           nothing yet: usage and the reason to stop are kept
    message_stop            thinking blocks, refusal, finish_reason, usage if asked for, [DONE]
    ping                    nothing: `keep_alive` sends its own
    error                   nothing: `failure` is set

Anything else is newer than this table and is ignored, as Anthropic asks of its clients.
"""

from collections.abc import Callable
from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.anthropic.answer import arguments
from gateway.dialects.anthropic.chunks import DONE, ChunkWriter
from gateway.dialects.anthropic.errors import in_band_failure
from gateway.dialects.anthropic.open_blocks import OpenThoughts, OpenTools
from gateway.dialects.anthropic.stop_reasons import finish_reason, refusal_text, unknown_reason
from gateway.dialects.anthropic.thinking_blocks import FIELDS
from gateway.dialects.anthropic.usage import UsageReport, client_usage
from gateway.dialects.delivered import BYTES_PER_TOKEN
from gateway.dialects.error_object import load_object
from gateway.dialects.exact_json import has_long_number, load_exactly
from gateway.dialects.openai.error_frame import error_frame
from gateway.dialects.sse import EventTooLarge, ServerSentEvent, SSEDecoder
from gateway.failure import Fault, UpstreamFailure

__all__ = ["AnthropicStream"]


class AnthropicStream:
    """The StreamTranslator from Anthropic's events to OpenAI's chunks."""

    def __init__(self, *, created: int, wants_usage: bool, input_includes_cache: bool) -> None:
        self.committed = False
        self.finished = False
        self.failure: UpstreamFailure | None = None
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier = ""  # Anthropic's tiers have one price for a token.
        self._created = created
        self._wants_usage = wants_usage
        self._decoder = SSEDecoder()
        self._report = UsageReport(input_includes_cache=input_includes_cache)
        self._chunks: ChunkWriter | None = None
        self._tools = OpenTools()
        self._thoughts = OpenThoughts()
        self._deltas = 0
        self._bytes = 0
        self._characters = 0
        """Of text, which tells where in it a thought has its place."""
        self._told_why = False
        self._stop_reason: object = None
        self._stop_details: object = None

    @property
    def usage(self) -> TokenUsage | None:
        """What the upstream has not reported yet is our estimate, and `usage_flaw` says so."""
        return self._report.read(self.delivered_output)[0]

    @property
    def usage_flaw(self) -> str | None:
        return self._report.read(self.delivered_output)[1]

    @property
    def oddity(self) -> str | None:
        return (unknown_reason(self._stop_reason) or self._report.oddity) if self.finished else None

    @property
    def delivered_output(self) -> int:
        return max(self._deltas, -(-self._bytes // BYTES_PER_TOKEN))

    def feed(self, chunk: bytes) -> bytes:
        if self.failure:
            return b""
        try:
            events = self._decoder.feed(chunk)
        except EventTooLarge as error:
            translated = self._translate_all(error.events)
            if not self.finished and self.failure is None:
                self._fail_malformed(str(error))
            return translated
        return self._translate_all(events)

    def end(self) -> bytes:
        if not self.finished and self.failure is None:
            self._fail_malformed("it ended before message_stop")
        return b""

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        return error_frame(message, type, code)

    def _translate_all(self, events: list[ServerSentEvent]) -> bytes:
        translated = []
        for event in events:
            if self.failure:
                break
            if self.finished:
                self._note_late_usage(event)
            else:
                translated.append(self._translate(event))
        return b"".join(translated)

    def _note_late_usage(self, event: ServerSentEvent) -> None:
        """Some compatible upstreams count after the end. Nothing else that comes so late is part of the answer."""
        document = load_object(event.data)
        if document is not None and document.get("type") == "message_delta":
            self._report.note_final(document.get("usage"))

    def _translate(self, event: ServerSentEvent) -> bytes:
        document = load_object(event.data)
        if document is None:
            return self._fail_malformed("an event that is not a JSON object")
        kind = document.get("type")
        if kind == "error":
            self.failure = in_band_failure(document)
            return b""
        if kind == "message_start":
            return self._start(document)
        if kind == "content_block_start" and has_long_number(event.data):
            document = load_exactly(event.data)  # It may hold the whole input of a tool call.
        translate = EVENTS.get(kind) if isinstance(kind, str) else None
        if translate is None:
            return b""
        if self._chunks is None:
            return self._fail_malformed("content before message_start") if kind != "ping" else b""
        try:
            return translate(self, document, self._chunks)
        except orjson.JSONEncodeError:
            return self._fail_malformed("an event that is nested too deeply")

    def _start(self, document: dict[str, Any]) -> bytes:
        message = _object(document.get("message"))
        self._report.note_start(message.get("usage"))
        self.response_id = _text(message.get("id"))
        self.response_model = _text(message.get("model"))
        self._chunks = ChunkWriter(
            id=self.response_id, model=self.response_model, created=self._created, wants_usage=self._wants_usage
        )
        return self._chunks.delta({"role": "assistant", "content": "", "refusal": None})

    def _block_start(self, document: dict[str, Any], chunks: ChunkWriter) -> bytes:
        index, block = _index(document), _object(document.get("content_block"))
        kind = block.get("type")
        if kind == "tool_use":
            call = self._tools.open(
                index, id=_text(block.get("id")), name=_text(block.get("name")), input=arguments(block.get("input"))
            )
            self._count(call["function"]["name"])
            return chunks.delta({"tool_calls": [call]})
        if kind in FIELDS:
            self.committed = True
            fields = {name: _text(block.get(name)) for name in FIELDS[kind]}
            self._thoughts.open(
                index, {"type": kind, **fields}, characters=self._characters, tool_calls=self._tools.opened
            )
            return self._reasoning(chunks, fields.get("thinking", ""))
        return self._text(chunks, _text(block.get("text"))) if kind == "text" else b""

    def _block_delta(self, document: dict[str, Any], chunks: ChunkWriter) -> bytes:
        index, delta = _index(document), _object(document.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text(chunks, _text(delta.get("text")))
        if kind == "input_json_delta":
            return self._arguments(chunks, self._tools.arguments(index, _text(delta.get("partial_json"))))
        if kind == "thinking_delta":
            text = _text(delta.get("thinking"))
            self._thoughts.add(index, "thinking", text)
            return self._reasoning(chunks, text)
        if kind == "signature_delta":
            self._thoughts.add(index, "signature", _text(delta.get("signature")))
        return b""

    def _block_stop(self, document: dict[str, Any], chunks: ChunkWriter) -> bytes:
        return self._arguments(chunks, self._tools.close(_index(document)))

    def _message_delta(self, document: dict[str, Any], _: ChunkWriter) -> bytes:
        self._report.note_final(document.get("usage"))
        delta = _object(document.get("delta"))
        self._told_why = True
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        self._stop_details = delta.get("stop_details") or self._stop_details
        return b""

    def _message_stop(self, _: dict[str, Any], chunks: ChunkWriter) -> bytes:
        if not self._told_why:
            return self._fail_malformed("it ended without message_delta")
        self.committed = self.finished = True
        thoughts = self._thoughts.whole
        frames = [chunks.delta({"thinking_blocks": thoughts})] if thoughts else []
        refusal = refusal_text(self._stop_reason, self._stop_details)
        frames += [chunks.delta({"refusal": refusal})] if refusal else []
        frames.append(chunks.finish(finish_reason(self._stop_reason, has_tool_calls=self._tools.opened > 0)))
        usage = self.usage
        if self._wants_usage and usage is not None:
            frames.append(chunks.usage(client_usage(usage)))
        return b"".join([*frames, DONE])

    def _text(self, chunks: ChunkWriter, text: str) -> bytes:
        if not text:
            return b""
        self._count(text)
        self._characters += len(text)
        return chunks.delta({"content": text})

    def _reasoning(self, chunks: ChunkWriter, text: str) -> bytes:
        """For people; the way back is the block."""
        if not text:
            return b""
        self._count(text)
        return chunks.delta({"reasoning_content": text})

    def _arguments(self, chunks: ChunkWriter, call: dict[str, Any] | None) -> bytes:
        if call is None:
            return b""
        self._count(call["function"]["arguments"])
        return chunks.delta({"tool_calls": [call]})

    def _count(self, text: str) -> None:
        self.committed = True
        self._deltas += 1
        self._bytes += len(text.encode())

    def _fail_malformed(self, what: str) -> bytes:
        self.failure = UpstreamFailure(Fault.UPSTREAM, 200, f"The provider's stream is broken: {what}.")
        return b""


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _index(document: dict[str, Any]) -> int:
    """Of the content block; -1 for an event that names none."""
    index = document.get("index")
    return index if type(index) is int else -1


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


EVENTS: dict[str, Callable[[AnthropicStream, dict[str, Any], ChunkWriter], bytes]] = {
    "content_block_start": AnthropicStream._block_start,
    "content_block_delta": AnthropicStream._block_delta,
    "content_block_stop": AnthropicStream._block_stop,
    "message_delta": AnthropicStream._message_delta,
    "message_stop": AnthropicStream._message_stop,
}
