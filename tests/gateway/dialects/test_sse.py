import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.sse import EventTooLarge, LineEnds, ServerSentEvent, SSEDecoder

MAX_CPU_SECONDS_PER_BYTE = 0.25e-6
"""Of blank lines; they take a fifth of that, and took four times as much one by one."""
STREAM = (
    b"\xef\xbb\xbfdata: first\n\n"
    b": a comment\n\n"
    b"event: named\r\ndata:no space\r\ndata: second line\r\n\r\n"
    b"event: without data\r\r"
    b"id: 7\rretry: 10\rdata\rdata:  two spaces\r\r"
    b'data: {"text":"\xe2\x80\xa8 \xf0\x9f\x98\x80 \xc2\x85"}\n\n\n\n'
    b"unknown: field\ndata: last\n\n"
    b"data: cut off by the end\n"
)
EVENTS = [
    ServerSentEvent(None, b"first"),
    ServerSentEvent(b"named", b"no space\nsecond line"),
    ServerSentEvent(None, b"\n two spaces"),
    ServerSentEvent(None, b'{"text":"\xe2\x80\xa8 \xf0\x9f\x98\x80 \xc2\x85"}'),
    ServerSentEvent(None, b"last"),
]


def decoded(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("split", range(len(STREAM) + 1))
def test_f41_events_survive_any_split_of_the_stream(split: int) -> None:
    events = decoded(STREAM[:split], STREAM[split:])

    assert events == EVENTS


def test_f41_events_survive_a_stream_of_single_bytes() -> None:
    events = decoded(*(STREAM[index : index + 1] for index in range(len(STREAM))))

    assert events == EVENTS


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_no_partition_changes_the_events_of_any_bytes(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    events = decoded(*(stream[start:end] for start, end in pairwise(edges)))

    assert events == decoded(stream)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_complete_at_its_blank_line_and_not_a_byte_later(ending: bytes) -> None:
    decoder = SSEDecoder()

    events = decoder.feed(b"data: x" + ending + ending[:1])

    assert events == [ServerSentEvent(None, b"x")] or ending == b"\r\n"
    assert decoder.feed(ending[1:]) in ([], [ServerSentEvent(None, b"x")])


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_an_event_over_the_limit_is_refused_with_the_events_before_it(chunk_size: int) -> None:
    stream = b"data: small\n\n" + b"data: " + b"x" * 50 + b"\n\n"
    decoder = SSEDecoder(max_event_bytes=40)
    events: list[ServerSentEvent] = []

    with pytest.raises(EventTooLarge, match="longer than 40 bytes") as caught:
        events.extend(
            event
            for start in range(0, len(stream), chunk_size)
            for event in decoder.feed(stream[start : start + chunk_size])
        )

    assert events + caught.value.events == [ServerSentEvent(None, b"small")]


def test_many_small_lines_count_towards_one_event() -> None:
    decoder = SSEDecoder(max_event_bytes=40)

    with pytest.raises(EventTooLarge):
        decoder.feed(b"data: 12345\n" * 4)


def test_a_carriage_return_at_the_end_of_a_chunk_ends_its_line_once() -> None:
    line_ends = LineEnds()

    chunks = [line_ends.normalise(chunk) for chunk in (b"a\r", b"", b"\nb\r", b"c\r\n")]

    assert chunks == [b"a\n", b"", b"b\n", b"c\n"]


@pytest.mark.parametrize("unit", [b"\n", b"\r", b"\r\n"])
def test_s21_blank_lines_cost_next_to_nothing(unit: bytes) -> None:
    """A megabyte of them, one by one, kept everybody else waiting for more than a second."""
    stream, decoder = unit * 2**20, SSEDecoder()
    began = time.process_time()

    events = [event for start in range(0, len(stream), 2**19) for event in decoder.feed(stream[start : start + 2**19])]

    assert (events, decoder.feed(b"\ndata: x\n\n")) == ([], [ServerSentEvent(None, b"x")])
    assert time.process_time() - began < len(stream) * MAX_CPU_SECONDS_PER_BYTE
