"""
A streamed answer of Anthropic on its way to a client of the same API: every event goes on as it came.

    message_start           passed on; the input is counted
    content_block_start     passed on; from the first one on no other target
    content_block_delta     passed on; what was delivered is counted
    message_delta           passed on; the counts and the reason to stop
    message_stop            passed on; the answer is whole
    ping, anything else     passed on
    error                   kept back: `failure` is set
"""

from typing import Any

from core.usage.token_usage import TokenUsage
from gateway.dialects.anthropic.errors import in_band_failure
from gateway.dialects.anthropic.stop_reasons import unknown_reason
from gateway.dialects.anthropic.usage import UsageReport
from gateway.dialects.delivered import BYTES_PER_TOKEN
from gateway.dialects.error_object import load_object
from gateway.dialects.messages.error_body import error_event
from gateway.dialects.sse import EventTooLarge, ServerSentEvent, SSEDecoder
from gateway.failure import Fault, UpstreamFailure

__all__ = ["MessagesStream", "block_length"]

BAD_GATEWAY = 502
TEXTS = ("text", "thinking", "partial_json", "name", "data")
"""Members of a content block, or of a delta, that are the model's output."""


class MessagesStream:
    """The StreamTranslator from Anthropic's events to themselves."""

    def __init__(self, *, input_includes_cache: bool) -> None:
        self.committed = False
        self.finished = False
        self.failure: UpstreamFailure | None = None
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier = ""  # Anthropic's tiers have one price for a token.
        self._decoder = SSEDecoder()
        self._report = UsageReport(input_includes_cache=input_includes_cache)
        self._started = False
        self._deltas = 0
        self._bytes = 0
        self._stop_reason: object = None

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
            return self._pass_all(self._decoder.feed(chunk))
        except EventTooLarge as error:
            passed = self._pass_all(error.events)
            if not self.finished and self.failure is None:
                self._fail(str(error))
            return passed

    def end(self) -> bytes:
        if not self.finished and self.failure is None:
            self._fail("it ended before message_stop")
        return b""

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        return error_event(message, BAD_GATEWAY, code)

    def _pass_all(self, events: list[ServerSentEvent]) -> bytes:
        passed = []
        for event in events:
            if self.failure:
                break
            document = load_object(event.data)
            if self.finished:
                self._note_late_usage(document)
            elif document is None:
                self._fail("an event that is not a JSON object")
            elif document.get("type") == "error":
                self.failure = in_band_failure(document)
            else:
                self._note(document)
                if self.failure is None:
                    passed.append(_written(event, document))
        return b"".join(passed)

    def _note(self, document: dict[str, Any]) -> None:
        kind = document.get("type")
        if kind == "message_start":
            self._start(document.get("message"))
        elif kind == "ping":
            return
        elif not self._started:
            self._fail("content before message_start")
        elif kind == "content_block_start":
            self.committed = True
            self._count(document.get("content_block"))
        elif kind == "content_block_delta":
            self.committed = True
            self._count(document.get("delta"))
        elif kind == "message_delta":
            self._report.note_final(document.get("usage"))
            delta = document.get("delta")
            self._stop_reason = (delta.get("stop_reason") if isinstance(delta, dict) else None) or self._stop_reason
        elif kind == "message_stop":
            self.committed = self.finished = True

    def _start(self, message: object) -> None:
        self._started = True
        if isinstance(message, dict):
            self._report.note_start(message.get("usage"))
            self.response_id, self.response_model = _text(message.get("id")), _text(message.get("model"))

    def _count(self, block: object) -> None:
        length = block_length(block)
        if length:
            self._deltas += 1
            self._bytes += length

    def _note_late_usage(self, document: dict[str, Any] | None) -> None:
        """Some compatible upstreams count after the end. Nothing else that comes so late is part of the answer."""
        if document is not None and document.get("type") == "message_delta":
            self._report.note_final(document.get("usage"))

    def _fail(self, what: str) -> None:
        self.failure = UpstreamFailure(Fault.UPSTREAM, 200, f"The provider's stream is broken: {what}.")


def block_length(block: object) -> int:
    """Bytes of the model's output in a content block or a delta."""
    if not isinstance(block, dict):
        return 0
    texts = [block.get(name) for name in TEXTS]
    length = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))
    arguments = block.get("input")
    return length + (len(str(arguments)) if arguments else 0)


def _written(event: ServerSentEvent, document: dict[str, Any]) -> bytes:
    """SDKs skip an event without its name; some compatible upstreams leave it out."""
    name = event.event or _text(document.get("type")).encode()
    lines = b"\ndata: ".join(event.data.split(b"\n"))
    return b"event: %b\ndata: %b\n\n" % (name, lines)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
