import re
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.errors import MalformedResponse
from gateway.outbound.response_parser import ResponseParser
from tests.gateway.outbound.responses import GOOD, REFUSED


@dataclass
class Outcome:
    """All that a caller can learn from a response."""

    refused: bool = False
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    reusable: bool = False


def parse(pieces: list[bytes], *, max_head_bytes: int = 4096, closes: bool = True) -> Outcome:
    parser = ResponseParser(max_head_bytes=max_head_bytes)
    try:
        for piece in pieces:
            parser.feed(piece)
    except MalformedResponse:
        return Outcome(refused=True)
    reusable = parser.complete and parser.reusable
    complete = parser.eof() if closes else parser.complete
    return Outcome(False, parser.status, parser.headers, b"".join(parser.body), complete, reusable)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(at), len(data)]) if start < end]


def pour(parser: ResponseParser, flood: bytes, *, times: int) -> None:
    for _ in range(times):
        parser.feed(flood)


@pytest.mark.parametrize(("data", "status", "body", "reusable"), GOOD)
def test_a_good_response_is_understood(data: bytes, status: int, body: bytes, reusable: bool) -> None:
    outcome = parse([data])

    assert (outcome.refused, outcome.complete) == (False, True)
    assert (outcome.status, outcome.body, outcome.reusable) == (status, body, reusable)


@pytest.mark.parametrize("data", [case[0] for case in GOOD] + REFUSED)
def test_no_single_split_changes_the_result(data: bytes) -> None:
    whole = parse([data])

    for at in range(len(data) + 1):
        assert parse(cut(data, [at])) == whole
    assert parse([bytes([byte]) for byte in data]) == whole


@pytest.mark.parametrize("data", REFUSED)
def test_a_response_that_could_mean_two_things_is_refused(data: bytes) -> None:
    assert parse([data]).refused


@pytest.mark.parametrize("byte", [byte for byte in (*range(0x20), 0x7F) if byte != 0x09])
def test_no_control_byte_comes_through_in_a_header_value(byte: int) -> None:
    data = b"HTTP/1.1 200 OK\r\nx-a: 1%b2\r\ncontent-length: 0\r\n\r\n" % bytes([byte])

    assert parse([data]).refused


@pytest.mark.parametrize(("data", "status", "body", "reusable"), GOOD)
def test_a_response_cut_short_never_ends_cleanly(data: bytes, status: int, body: bytes, reusable: bool) -> None:
    if b"to the end" in data or b"surplus" in data:
        return
    for length in range(len(data)):
        assert not parse([data[:length]]).complete


def test_a_second_response_is_neither_mixed_in_nor_lost_sight_of() -> None:
    response = b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nhi"

    outcome = parse([response + response.replace(b"hi", b"ho")])

    assert outcome == Outcome(False, 200, [(b"x-a", b"1"), (b"content-length", b"2")], b"hi", True, False)


def test_one_parser_reads_response_after_response() -> None:
    parser = ResponseParser(max_head_bytes=128)
    response = b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"

    for _ in range(5):
        assert parser.untouched
        parser.feed(response)
        assert (parser.status, parser.body, parser.complete, parser.reusable) == (201, [b"hi"], True, True)
        parser.reset()


def test_the_headers_of_an_interim_response_are_not_those_of_the_final_one() -> None:
    outcome = parse([b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"])

    assert outcome.headers == [(b"content-length", b"0")]


def test_the_headers_of_one_response_outlive_the_next() -> None:
    parser = ResponseParser(max_head_bytes=4096)
    parser.feed(b"HTTP/1.1 200 OK\r\nX-First: 1\r\ncontent-length: 0\r\n\r\n")
    first = parser.headers

    parser.reset()
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    assert first[0] == (b"x-first", b"1")


@pytest.mark.parametrize("step", [1, 7, 100, 10_000])
def test_the_longest_head_allowed_is_exact_however_it_arrives(step: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nx-pad: %b\r\ncontent-length: 300\r\n\r\n" % (b"a" * 200)
    data = head + b"b" * 300
    pieces = cut(data, list(range(step, len(data), step)))

    assert parse(pieces, max_head_bytes=len(head)).complete
    assert parse(pieces, max_head_bytes=len(head) - 1).refused


@pytest.mark.parametrize(
    "flood",
    [b"x-a: 1\r\n", b"a:\r\n", b"a", b"x-a: " + b"b" * 99],
    ids=["headers", "empty headers", "one name", "long values"],
)
def test_a_flood_in_the_head_is_refused_within_the_limit(flood: bytes) -> None:
    parser = ResponseParser(max_head_bytes=1000)
    parser.feed(b"HTTP/1.1 200 OK\r\n")

    with pytest.raises(MalformedResponse):
        pour(parser, flood, times=1000 // len(flood) + 1)


def test_endless_interim_responses_are_a_flood() -> None:
    parser = ResponseParser(max_head_bytes=1000)

    with pytest.raises(MalformedResponse, match="longer than 1000 bytes"):
        pour(parser, b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n", times=1000)


@pytest.mark.parametrize("flood", [b"x-a: 1\r\n", b"x" * 10], ids=["trailers", "one endless trailer name"])
def test_a_flood_of_trailers_is_refused(flood: bytes) -> None:
    parser = ResponseParser(max_head_bytes=1000)
    parser.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")

    with pytest.raises(MalformedResponse, match="chunk framing"):
        pour(parser, flood, times=1000)


def test_a_long_stream_of_split_chunks_is_no_flood() -> None:
    parser = ResponseParser(max_head_bytes=1000)
    parser.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")

    for _ in range(1000):
        for piece in (b"2\r\n", b"hi", b"\r\n"):
            parser.feed(piece)
            parser.body.clear()

    assert not parser.complete


TOKENS = st.from_regex(rb"x-[a-z0-9-]{1,12}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~\x80-\xff]([ -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True)
PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, Outcome]:
    status = draw(st.integers(200, 599).filter(lambda status: status not in (204, 304)))
    headers = draw(st.lists(st.tuples(TOKENS, VALUES), max_size=5))
    pieces = draw(PIECES)
    body = b"".join(pieces)
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    keeps = framing != "close" and draw(st.booleans())
    lines = list(headers)
    if framing == "length":
        lines.append((b"content-length", b"%d" % len(body)))
    elif framing == "chunked":
        lines.append((b"transfer-encoding", b"chunked"))
        body_on_wire = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nt: x\r\n\r\n"
    if not keeps:
        lines.append((b"connection", b"close"))
    head = b"HTTP/1.1 %d Fine\r\n" % status + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"
    wire = head + (body_on_wire if framing == "chunked" else body)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    return interim + wire, Outcome(False, status, lines, body, True, keeps)


@given(responses(), st.data())
def test_whatever_the_response_and_its_splits_the_result_is_the_same(
    response: tuple[bytes, Outcome], data: st.DataObject
) -> None:
    wire, expected = response
    splits = data.draw(st.lists(st.integers(0, len(wire)), max_size=20))

    outcome = parse(cut(wire, splits))

    assert outcome == expected


@given(st.sampled_from([case[0] for case in GOOD]), st.binary(min_size=1, max_size=30))
def test_surplus_never_changes_the_response_before_it(response: bytes, surplus: bytes) -> None:
    if b"to the end" in response:
        return
    alone = parse([response])

    followed = parse([response + surplus])

    assert (followed.status, followed.body, followed.complete) == (alone.status, alone.body, True)
    assert not followed.reusable or not re.sub(rb"[\r\n]", b"", surplus)
