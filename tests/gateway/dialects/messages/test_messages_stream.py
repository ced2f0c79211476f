"""A stream of Anthropic on its way to a client of the same API, cut at any byte."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.usage.token_usage import TokenUsage
from gateway.dialects.messages.messages_stream import MessagesStream
from gateway.failure import Fault

START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}},
}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüße an alle Menschen"}}
NEW = {"type": "something_new", "value": [1, 2]}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
STOP = {"type": "message_stop"}
WHOLE = (START, BLOCK, DELTA, NEW, END, STOP)


def sse(*events: dict[str, Any], named: bool = True) -> bytes:
    return b"".join(
        (b"event: %b\n" % event["type"].encode() if named else b"") + b"data: %b\n\n" % json.dumps(event).encode()
        for event in events
    )


def stream() -> MessagesStream:
    return MessagesStream(input_includes_cache=False)


@given(some.data())
def test_every_event_goes_on_as_it_came_however_it_is_cut(data: some.DataObject) -> None:
    text = sse(*WHOLE)
    cuts = sorted(data.draw(some.sets(some.integers(1, len(text) - 1), max_size=6)))
    passing = stream()

    passed = b"".join(passing.feed(text[start:end]) for start, end in pairwise([0, *cuts, len(text)]))

    assert passed == text
    assert passing.finished
    assert passing.failure is None
    assert (passing.usage, passing.usage_flaw) == (TokenUsage(input=9, output=7), None)


def test_an_event_without_a_name_gets_one() -> None:
    """Some compatible upstreams leave it out, and SDKs skip such an event."""
    assert stream().feed(sse(*WHOLE, named=False)) == sse(*WHOLE)


def test_nothing_is_committed_before_content() -> None:
    passing = stream()

    passing.feed(sse(START, {"type": "ping"}))
    before = passing.committed
    passing.feed(sse(BLOCK))

    assert (before, passing.committed) == (False, True)


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ((START, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}), Fault.UPSTREAM),
        ((START, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}), Fault.RATE),
        ((BLOCK,), Fault.UPSTREAM),
    ],
    ids=["overloaded", "limited", "no start"],
)
def test_an_error_is_kept_back_and_judged(events: tuple[dict[str, Any], ...], fault: Fault) -> None:
    passing = stream()

    passed = passing.feed(sse(*events))

    assert passing.failure is not None
    assert passing.failure.fault is fault
    assert b"error" not in passed
    assert passing.feed(sse(*WHOLE)) == b""


def test_what_breaks_off_is_counted_by_what_was_delivered() -> None:
    passing = stream()
    passing.feed(sse(START, BLOCK, DELTA))

    passing.end()

    assert passing.failure is not None
    assert passing.usage == TokenUsage(input=9, output=passing.delivered_output)
    assert passing.usage_flaw == "output_missing"
    assert passing.delivered_output == 6  # 24 bytes.


def test_nothing_follows_the_end_but_late_counts() -> None:
    passing = stream()
    passing.feed(sse(*WHOLE))

    passed = passing.feed(sse(DELTA, {**END, "usage": {"output_tokens": 8}}))

    assert passed == b""
    assert passing.usage == TokenUsage(input=9, output=8)
