"""Feeds a stream to a translator in pieces and gathers everything that can be observed afterwards."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from core.usage.token_usage import TokenUsage
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.dialects.sse import SSEDecoder
from gateway.dialects.translator import StreamTranslator
from gateway.failure import UpstreamFailure

NewStream = Callable[[], StreamTranslator]


@dataclass(frozen=True)
class Outcome:
    body: bytes
    committed: bool
    finished: bool
    failure: UpstreamFailure | None
    usage: TokenUsage | None
    usage_flaw: str | None
    delivered_output: int
    response_id: str | None
    response_model: str | None

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The JSON events for the client, without comments and [DONE]."""
        events = SSEDecoder().feed(self.body)
        return [orjson.loads(event.data) for event in events if event.data != b"[DONE]"]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [frame["choices"][0]["delta"] for frame in self.frames if frame["choices"]]

    @property
    def finish_reasons(self) -> list[str]:
        choices = [choice for frame in self.frames for choice in frame["choices"]]
        return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]

    @property
    def done(self) -> bool:
        """The last event is [DONE]."""
        events = SSEDecoder().feed(self.body)
        return bool(events) and events[-1].data.startswith(b"[DONE]")


def play(new_stream: NewStream, *chunks: bytes, ends: bool = True) -> Outcome:
    stream = new_stream()
    body = b"".join(stream.feed(chunk) for chunk in chunks) + (stream.end() if ends else b"")
    return Outcome(
        body=body,
        committed=stream.committed,
        finished=stream.finished,
        failure=stream.failure,
        usage=stream.usage,
        usage_flaw=stream.usage_flaw,
        delivered_output=stream.delivered_output,
        response_id=stream.response_id,
        response_model=stream.response_model,
    )


def split_everywhere(stream: bytes) -> Iterable[tuple[bytes, ...]]:
    """In two at every byte, and into single bytes."""
    for position in range(1, len(stream)):
        yield stream[:position], stream[position:]
    yield tuple(stream[index : index + 1] for index in range(len(stream)))


def cut(stream: bytes, positions: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(min(position, len(stream)) for position in positions), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def chat(**fields: Any) -> GenerationRequest:
    """A chat request with defaults for what a test does not care about."""
    document = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return parse_chat(orjson.dumps(document))
