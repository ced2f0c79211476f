"""
Throws broken streams at the SSE decoder.

However the bytes are split, the events are the same, and none holds more than the limit.
"""

from gateway.dialects.sse import EventTooLarge, ServerSentEvent, SSEDecoder
from tests.fuzz.damage import Fuzzer
from tests.gateway.dialects.streams import anthropic, openai

LIMIT = 512
FRAGMENTS = [
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data:", b"data: ", b"data", b"event: x\n", b": ", b":", b"id: 1\n",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\0", b"retry: 1\n", b"x" * LIMIT,
]  # fmt: skip


def fuzz_one(data: bytes) -> None:
    whole = _decoded([data])
    assert _decoded([data[index : index + 1] for index in range(len(data))]) == whole, data
    middle = len(data) // 2
    assert _decoded([data[:middle], b"", data[middle:]]) == whole, data


def _decoded(chunks: list[bytes]) -> tuple[list[ServerSentEvent], bool]:
    decoder = SSEDecoder(LIMIT)
    events: list[ServerSentEvent] = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
    except EventTooLarge as error:
        return events + error.events, True
    assert all(len(event.data) <= LIMIT for event in events)
    return events, False


CORPUS = [*openai.COMPLETE.values(), *openai.BROKEN.values(), *anthropic.COMPLETE.values(), *anthropic.BROKEN.values()]
FUZZER = Fuzzer(fuzz_one, CORPUS, FRAGMENTS)
