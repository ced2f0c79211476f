"""
A streamed answer: Anthropic's events become OpenAI's chunks.

    message_start           the chunk with the role
    content_block_start     a tool call's id and name; a redacted thought
    content_block_delta     text, reasoning, a thought's signature, a piece of a tool call's arguments
    content_block_stop      "{}" for a tool call that got no arguments
    message_delta           nothing yet: usage and the reason to stop are kept
    message_stop            refusal, finish_reason, usage if asked for, [DONE]
    ping                    a comment, which keeps proxies from closing an idle connection
    error                   nothing: `failure` is set

Anything else is newer than this table and is ignored, as Anthropic asks of its clients.
"""

from collections.abc import Callable
from typing import Any

import orjson

from core.token_usage import TokenUsage
from gateway.sse import EventTooLarge, ServerSentEvent, SSEDecoder
from gateway.translators.anthropic.chunks import DONE, ChunkWriter
from gateway.translators.anthropic.errors import in_band_failure
from gateway.translators.anthropic.open_blocks import OpenThoughts, OpenTools
from gateway.translators.anthropic.stop_reasons import finish_reason, refusal_text
from gateway.translators.anthropic.usage import UsageReport, client_usage
from gateway.translators.delivered import BYTES_PER_TOKEN
from gateway.translators.error_frame import error_frame
from gateway.translators.error_object import load_object
from gateway.upstream_failure import Fault, UpstreamFailure

__all__ = ["AnthropicStream"]

PING = b": ping\n\n"


class AnthropicStream:
    """The StreamTranslator from Anthropic's events to OpenAI's chunks."""

    def __init__(self, *, created: int, wants_usage: bool, input_includes_cache: bool) -> None:
        self.committed = False
        self.finished = False
        self.failure: UpstreamFailure | None = None
        self.response_id: str | None = None
        self.response_model: str | None = None
        self._created = created
        self._wants_usage = wants_usage
        self._decoder = SSEDecoder()
        self._report = UsageReport(input_includes_cache=input_includes_cache)
        self._chunks: ChunkWriter | None = None
        self._tools = OpenTools()
        self._thoughts = OpenThoughts()
        self._deltas = 0
        self._bytes = 0
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
    def delivered_output(self) -> int:
        return max(self._deltas, -(-self._bytes // BYTES_PER_TOKEN))

    def feed(self, chunk: bytes) -> bytes:
        if self.finished or self.failure:
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
            translated.append(self._translate(event))
            if self.finished or self.failure:
                break
        return b"".join(translated)

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
        translate = EVENTS.get(kind) if isinstance(kind, str) else None
        if translate is None:
            return b""
        if self._chunks is None:
            return self._fail_malformed("content before message_start") if kind != "ping" else PING
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
                index, id=_text(block.get("id")), name=_text(block.get("name")), input=block.get("input")
            )
            self._count(call["function"]["name"])
            return chunks.delta({"tool_calls": [call]})
        if kind == "redacted_thinking":
            return self._thought(chunks, self._thoughts.open(index, {"type": kind, "data": _text(block.get("data"))}))
        if kind == "thinking":
            text = _text(block.get("thinking"))
            return self._thinking(chunks, self._thoughts.open(index, {"type": kind, "thinking": text}))
        return self._text(chunks, _text(block.get("text"))) if kind == "text" else b""

    def _block_delta(self, document: dict[str, Any], chunks: ChunkWriter) -> bytes:
        index, delta = _index(document), _object(document.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta":
            return self._text(chunks, _text(delta.get("text")))
        if kind == "input_json_delta":
            return self._arguments(chunks, self._tools.arguments(index, _text(delta.get("partial_json"))))
        if kind == "thinking_delta":
            piece = {"type": "thinking", "thinking": _text(delta.get("thinking"))}
            return self._thinking(chunks, self._thoughts.piece(index, piece))
        if kind == "signature_delta":
            piece = {"type": "thinking", "signature": _text(delta.get("signature"))}
            return self._thought(chunks, self._thoughts.piece(index, piece))
        return b""

    def _block_stop(self, document: dict[str, Any], chunks: ChunkWriter) -> bytes:
        return self._arguments(chunks, self._tools.close(_index(document)))

    def _message_delta(self, document: dict[str, Any], _: ChunkWriter) -> bytes:
        self._report.note_final(document.get("usage"))
        delta = _object(document.get("delta"))
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        self._stop_details = delta.get("stop_details") or self._stop_details
        return b""

    def _message_stop(self, _: dict[str, Any], chunks: ChunkWriter) -> bytes:
        self.committed = self.finished = True
        refusal = refusal_text(self._stop_reason, self._stop_details)
        frames = [chunks.delta({"refusal": refusal})] if refusal else []
        frames.append(chunks.finish(finish_reason(self._stop_reason, has_tool_calls=self._tools.any_opened)))
        usage = self.usage
        if self._wants_usage and usage is not None:
            frames.append(chunks.usage(client_usage(usage)))
        return b"".join([*frames, DONE])

    def _ping(self, _: dict[str, Any], __: ChunkWriter) -> bytes:
        return PING

    def _text(self, chunks: ChunkWriter, text: str) -> bytes:
        if not text:
            return b""
        self._count(text)
        return chunks.delta({"content": text})

    def _thinking(self, chunks: ChunkWriter, piece: dict[str, Any]) -> bytes:
        """For people as `reasoning_content`, for the way back as a piece of its block."""
        text = piece["thinking"]
        if not text:
            return b""
        self._count(text)
        return chunks.delta({"reasoning_content": text, "thinking_blocks": [piece]})

    def _thought(self, chunks: ChunkWriter, piece: dict[str, Any]) -> bytes:
        self.committed = True
        return chunks.delta({"thinking_blocks": [piece]})

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
    "ping": AnthropicStream._ping,
}
