"""
A streamed OpenAI answer on its way through, nearly untouched. This is the hottest code of the gateway.

Once the answer is committed, a chunk of complete events is searched for five byte strings and passed on, never decoded.
The searches are sound because a quote inside a JSON string is escaped: `"usage":null` can't be part of a text, and
`"error"` or `[DONE]` at worst is one, which sends its event the slow way. Comments are left out: some clients
take one for an event. Everything else goes the slow way too: the
events before the first content, chunks that end inside an event, and line ends other than LF, which become LF.
"""

import re
from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.delivered import BYTES_PER_TOKEN, text_length
from gateway.dialects.error_object import load_object
from gateway.dialects.openai.error_frame import error_frame
from gateway.dialects.openai.errors import in_band_failure
from gateway.dialects.openai.usage import read_usage
from gateway.dialects.sse import MAX_EVENT_BYTES, LineEnds, SSEDecoder
from gateway.failure import Fault, UpstreamFailure

__all__ = ["OpenAIStream", "served_tier"]

LINE_FEED, CARRIAGE_RETURN = 0x0A, 0x0D
NULL_USAGE = b',"usage":null'
NULL_USAGE_FIELD = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,\s*')
COMMENT = re.compile(rb"^:.*\n", re.MULTILINE)
EVENT = re.compile(rb"\n+|(?:[^\n]+\n)+\n")


class OpenAIStream:
    """The StreamTranslator between OpenAI and OpenAI."""

    __slots__ = (
        "_bytes",
        "_deltas",
        "_done_after",
        "_envelope",
        "_includes_cache",
        "_last",
        "_line_ends",
        "_pending",
        "_straight",
        "_wants_usage",
        "committed",
        "failure",
        "finished",
        "response_id",
        "response_model",
        "service_tier",
        "usage",
        "usage_flaw",
    )

    def __init__(self, *, wants_usage: bool, done_after: int | None = None, input_includes_cache: bool = True) -> None:
        """`done_after`: the upstream sends no [DONE]; its answer is over after so many choices."""
        self.committed = False
        self.finished = False
        self.failure: UpstreamFailure | None = None
        self.usage: TokenUsage | None = None
        self.usage_flaw: str | None = None
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.service_tier = ""
        self._wants_usage = wants_usage
        self._done_after = done_after
        self._includes_cache = input_includes_cache
        self._last = b""
        """What was passed on last: without [DONE] it tells whether the answer was over."""
        self._straight = False
        """A chunk may take the fast way: committed, still running, and nothing held back."""
        self._line_ends = LineEnds()
        self._pending = bytearray()
        self._deltas = 0
        self._bytes = 0
        self._envelope = 0
        """Bytes of an event around its text, learnt from the first event with content."""

    @property
    def delivered_output(self) -> int:
        """An event carries at least a token; where upstreams put several into one, its bytes tell."""
        text = self._bytes - self._deltas * self._envelope
        return max(self._deltas, -(-text // BYTES_PER_TOKEN))

    @property
    def oddity(self) -> str | None:
        return None  # The answer is passed on as it is: what is odd in it is the client's to see.

    def feed(self, chunk: bytes) -> bytes:
        if self._straight and chunk.endswith(b"\n\n") and len(chunk) < MAX_EVENT_BYTES:
            passed = self._pass(chunk)
            if passed is not None:
                return passed
        return self._feed_slowly(chunk)

    def end(self) -> bytes:
        last = bytes(self._pending).strip(b"\n")
        self._pending.clear()
        if self.finished or self.failure:
            return b""
        return self._end_without_blank_line(last)

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        return error_frame(message, type, code)

    def _pass(self, events: bytes) -> bytes | None:
        """The complete events for the client when nothing in them needs a closer look, else None."""
        kept = events.replace(NULL_USAGE, b"")
        find = kept.find  # Takes two thirds of the time of `in`, except for a single byte.
        if find(b'"usage"') >= 0 or find(b'"error"') >= 0 or find(b"[DONE]") >= 0 or CARRIAGE_RETURN in kept:
            return None
        if find(b"\n:") >= 0 or kept.startswith(b":"):
            return None
        self._count(kept)
        self._last = kept
        return events if self._wants_usage else kept

    def _count(self, events: bytes) -> None:
        self._deltas += events.count(b'"delta"')
        self._bytes += len(events)

    def _feed_slowly(self, chunk: bytes) -> bytes:
        if self.failure:
            return b""
        chunk = self._line_ends.normalise(chunk)
        if not self._pending:
            chunk = chunk.lstrip(b"\n")  # A blank line between events means nothing.
        passed = self._relay(self._complete_events(chunk))
        if len(self._pending) > MAX_EVENT_BYTES:
            self._fail_malformed(f"an event longer than {MAX_EVENT_BYTES} bytes")
        running = self.committed and not self.finished and self.failure is None
        self._straight = running and not self._pending and not self._line_ends.after_carriage_return
        return passed

    def _complete_events(self, chunk: bytes) -> bytes:
        """Holds back what follows the last blank line."""
        pending = self._pending
        searched = max(0, len(pending) - 1)
        pending += chunk
        end = pending.rfind(b"\n\n", searched)
        if end < 0:
            return b""
        complete = bytes(pending[: end + 2])
        del pending[: end + 2]
        return complete

    def _relay(self, events: bytes) -> bytes:
        passed = []
        if events.startswith(b":") or events.find(b"\n:") >= 0:
            events = COMMENT.sub(b"", events)  # Some upstreams keep the connection alive with it. So do we, otherwise.
        for event in EVENT.findall(events):
            if self.failure:
                self._pending.clear()
                break
            if self.finished:
                self._note_late_usage(event)
            else:
                passed.append(self._relay_event(event))
        return b"".join(passed)

    def _note_late_usage(self, event: bytes) -> None:
        """Some upstreams count after [DONE]. Nothing else that comes so late is part of the answer."""
        document = load_object(_data(event) or b"") if event[0] != LINE_FEED else None
        usage, flaw = read_usage((document or {}).get("usage"), input_includes_cache=self._includes_cache)
        if usage is not None:
            self.usage, self.usage_flaw = usage, flaw

    def _relay_event(self, event: bytes) -> bytes:
        if event[0] == LINE_FEED:
            return b""
        if len(event) > MAX_EVENT_BYTES + 1:
            return self._fail_malformed(f"an event longer than {MAX_EVENT_BYTES} bytes")
        if self.committed and (passed := self._pass(event)) is not None:
            return passed
        data = _data(event)
        if data is None:
            return b""
        if data.startswith(b"[DONE]"):
            self.committed = self.finished = True
            return event
        document = load_object(data)
        if document is None:
            return self._fail_malformed("an event that is not a JSON object")
        if document.get("error"):
            self.failure = in_band_failure(document)
            return b""
        return self._relay_document(event, document)

    def _relay_document(self, event: bytes, document: dict[str, Any]) -> bytes:
        self.service_tier = served_tier(document) or self.service_tier
        self._last = event
        usage, flaw = read_usage(document.get("usage"), input_includes_cache=self._includes_cache)
        if usage is not None:
            self.usage, self.usage_flaw = usage, flaw
        try:
            stripped = _without_usage(event, document)
        except orjson.JSONEncodeError:
            return self._fail_malformed("an event that is nested too deeply")
        self._note_content(stripped, document)
        return event if self._wants_usage else stripped

    def _note_content(self, event: bytes, document: dict[str, Any]) -> None:
        choices = document.get("choices")
        choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        if not self.committed:
            self._note_response(document)
            if not any(_has_content(choice) for choice in choices):
                return
            self.committed = True
            length = sum(text_length(choice.get("delta")) for choice in choices)
            self._envelope = (len(event) - length) // max(1, event.count(b'"delta"'))
        if choices:
            self._count(event)

    def _note_response(self, document: dict[str, Any]) -> None:
        id, model = document.get("id"), document.get("model")
        self.response_id = id if isinstance(id, str) else None
        self.response_model = model if isinstance(model, str) else None

    def _fail_malformed(self, what: str) -> bytes:
        self._pending.clear()
        self.failure = UpstreamFailure(Fault.UPSTREAM, 200, f"The provider's stream is broken: {what}.")
        return b""

    def _end_without_blank_line(self, last: bytes) -> bytes:
        """Some upstreams forget the last blank line, or answer a stream with a plain JSON error."""
        data = _data(last + b"\n\n") or last
        if data.startswith(b"[DONE]"):
            self.committed = self.finished = True
            return b"data: [DONE]\n\n"
        document = load_object(data)
        if document is not None and document.get("error"):
            self.failure = in_band_failure(document)
            return b""
        passed = b""
        if document is not None and self._done_after is not None:
            passed, last = self._relay_document(b"data: " + data + b"\n\n", document), b""
        if not last and self._answer_is_over():
            self.finished = True
            return passed + b"data: [DONE]\n\n"
        return passed + self._fail_malformed("it ended before [DONE]")

    def _answer_is_over(self) -> bool:
        """Without [DONE]: the usage, which comes last of all, has come, or the only choice's finish reason."""
        if self._done_after is None or not self.committed:
            return False
        for event in EVENT.findall(self._last):
            document = load_object(_data(event) or b"") or {}
            choices = document.get("choices")
            if not isinstance(choices, list):
                continue
            if not choices and isinstance(document.get("usage"), dict):
                return True
            if self._done_after == 1 and any(isinstance(one, dict) and one.get("finish_reason") for one in choices):
                return True
        return False


def served_tier(document: dict[str, Any]) -> str:
    """What the provider says about the tier that it served the answer in."""
    tier = document.get("service_tier")
    return tier if isinstance(tier, str) else ""


def _without_usage(event: bytes, document: dict[str, Any]) -> bytes:
    if not isinstance(document.get("usage"), dict):
        return NULL_USAGE_FIELD.sub(b"", event)
    if not document.get("choices"):
        return b""  # The chunk that only carries the usage we asked for ourselves.
    return b"data: " + orjson.dumps({key: value for key, value in document.items() if key != "usage"}) + b"\n\n"


def _has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    text = isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
    return text or bool(choice.get("finish_reason"))


def _data(event: bytes) -> bytes | None:
    """None for an event without data, such as a comment."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2:
        return event[6:-2]
    if b"data" not in event:
        return None
    events = SSEDecoder(len(event) + 1).feed(event)
    return events[0].data if events else None
