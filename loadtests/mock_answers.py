"""
The bytes that the mock upstream answers with. The name of the model says what is wanted: `mock` is a plain answer or a
stream of 100 chunks without a pause, `mock-40x250` a stream of 40 chunks, 250 ms apart.

Every chunk carries the moment of its writing in its id, so that a client on the same machine can tell how long it took.
"""

import re
import time
from dataclasses import dataclass
from functools import lru_cache

import orjson

__all__ = ["FLAVOURS", "STAMP", "Flavour", "Shape", "microseconds", "shape_of", "whole_answer"]

MODEL = re.compile(rb'"model"\s*:\s*"mock(?:-(\d+)x(\d+))?"')
DEFAULT_CHUNKS = 100
STAMP_DIGITS = 16
STAMP = re.compile(rb"stamp-(\d{16})")
HEADERS = b"x-request-id: req_mock0123456789\r\nopenai-processing-ms: 12\r\nx-ratelimit-limit-requests: 10000\r\n"
WORDS = "The quick answer of a model that says what was asked for, in a few plain sentences. " * 6
CREATED = 1_790_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a stream."""

    chunks: int
    pause_ms: int


@dataclass(frozen=True, slots=True)
class Flavour:
    """An API: its whole answer with head, and the pieces of its stream in chunked coding."""

    whole: bytes
    stream_start: bytes
    before_stamp: bytes
    after_stamp: bytes
    stream_end: bytes

    def chunk(self) -> bytes:
        return b"%b%016d%b" % (self.before_stamp, microseconds(), self.after_stamp)


def microseconds() -> int:
    """The clock of the stamps: one for all processes of this machine."""
    return time.perf_counter_ns() // 1000


def shape_of(body: bytes) -> Shape:
    """Of the stream that a request asks for."""
    found = MODEL.search(body)
    return _shape(*found.groups()) if found and found[1] else Shape(DEFAULT_CHUNKS, 0)


@lru_cache(maxsize=64)
def _shape(chunks: bytes, pause: bytes) -> Shape:
    return Shape(int(chunks), int(pause))


def whole_answer(document: object) -> bytes:
    body = orjson.dumps(document)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (HEADERS, len(body)) + body


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(document: object, name: str = "") -> bytes:
    first = b"event: %b\n" % name.encode() if name else b""
    return first + b"data: %b\n\n" % orjson.dumps(document)


def _stream(start: bytes, chunk: bytes, end: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n%btransfer-encoding: chunked\r\n\r\n"
    before, _, after = _framed(chunk).partition(b"0" * STAMP_DIGITS)
    return head % HEADERS + _framed(start), before, after, _framed(end) + b"0\r\n\r\n"


def _openai() -> Flavour:
    usage = {
        "prompt_tokens": 260,
        "completion_tokens": 100,
        "total_tokens": 360,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    shared = {"id": "chatcmpl-mock0123456789", "created": CREATED, "model": "mock", "service_tier": "default"}
    message: dict[str, object] = {"role": "assistant", "content": WORDS[:420], "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {**shared, "object": "chat.completion", "choices": [choice], "usage": usage, "system_fingerprint": "fp_1"}

    def chunk(delta: object, finish: str | None = None, usage: object = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}] if delta is not None else []
        return _event(
            {**shared, "id": "stamp-" + "0" * STAMP_DIGITS, "object": "chat.completion.chunk", "choices": choices}
            | {"usage": usage, "system_fingerprint": "fp_1"}
        )

    end = chunk({}, "stop") + chunk(None, usage=usage) + b"data: [DONE]\n\n"
    start = chunk({"role": "assistant", "content": "", "refusal": None})
    return Flavour(whole_answer(whole), *_stream(start, chunk({"content": " plainly"}), end))


def _anthropic() -> Flavour:
    usage = {"input_tokens": 260, "output_tokens": 100, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    message: dict[str, object] = {"id": "msg_mock0123456789", "type": "message", "role": "assistant", "model": "mock"}
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    whole = {**message, "content": [{"type": "text", "text": WORDS[:420]}], **ending, "usage": usage}
    begun: dict[str, object] = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    begun["usage"] = {**usage, "output_tokens": 1}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "text_delta", "text": " stamp-" + "0" * STAMP_DIGITS}
    start = _event({"type": "message_start", "message": begun}, "message_start") + _event(block, "content_block_start")
    end = (
        _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        + _event({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 100}}, "message_delta")
        + _event({"type": "message_stop"}, "message_stop")
    )
    chunk = _event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    return Flavour(whole_answer(whole), *_stream(start, chunk, end))


FLAVOURS = {b"/v1/chat/completions": _openai(), b"/v1/messages": _anthropic()}
