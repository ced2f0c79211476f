"""Requests from bytes, without a socket: the same events however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.inbound.request_parser import END, MAX_HEAD_BYTES, BadRequest, Event, RequestHead, RequestParser
from tests.fuzz import fuzz_request_parser

GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nAccept: a\r\naccept: b\r\n\r\n"
POST = b"POST /v1/chat%20completions?a=1 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-Continue\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\ntrailer: no\r\n\r\n"
UPGRADE = b"GET /u HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n\r\n"
OLD = b"GET /old HTTP/1.0\r\n\r\n"


def events(*pieces: bytes) -> list[Event]:
    """With the pieces of each body joined."""
    parser = RequestParser()
    found: list[Event] = []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
            if isinstance(event, BadRequest):
                return found
    return found


def head(method: str, path: str, **more: object) -> RequestHead:
    values = {"headers": {b"host": b"x"}, "http_1_0": False, "keep_alive": True, "expects_continue": False, **more}
    return RequestHead(method, path, **values)  # type: ignore[arg-type]


EVENTS = {
    GET: [head("GET", "/v1/models", headers={b"host": b"x", b"accept": b"a, b"}), END],
    POST: [
        head(
            "POST",
            "/v1/chat completions",
            headers={b"host": b"x", b"content-length": b"5", b"expect": b"100-Continue"},
            expects_continue=True,
        ),
        b"hello",
        END,
    ],
    CHUNKED: [head("POST", "/c", headers={b"host": b"x", b"transfer-encoding": b"chunked"}), b"hello", END],
    OLD: [head("GET", "/old", headers={}, http_1_0=True, keep_alive=False), END],
    UPGRADE: [head("GET", "/u", headers={b"host": b"x", b"connection": b"close"}, keep_alive=False), END],
}


@given(some.lists(some.sampled_from([GET, POST, CHUNKED]), min_size=1, max_size=3), some.data())
def test_requests_are_the_same_however_their_bytes_are_cut(requests: list[bytes], data: some.DataObject) -> None:
    text = b"".join(requests)
    cuts = sorted(data.draw(some.sets(some.integers(1, len(text) - 1), max_size=8)))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]

    assert events(*pieces) == [event for request in requests for event in EVENTS[request]]


@pytest.mark.parametrize("request_", EVENTS)
def test_a_request_may_come_byte_by_byte(request_: bytes) -> None:
    assert events(*(request_[at : at + 1] for at in range(len(request_)))) == EVENTS[request_]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: 1\r\n" * 102 + b"\r\n", 431),
        (b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"nothing\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused(text: bytes, status: int) -> None:
    *before, problem = events(text)

    assert before == []
    assert isinstance(problem, BadRequest)
    assert problem.status == status


def test_requests_before_a_bad_one_are_found() -> None:
    found = events(GET + b"nonsense\r\n\r\n")

    assert found[:2] == EVENTS[GET]
    assert isinstance(found[2], BadRequest)


@pytest.mark.parametrize(
    "endless",
    [b"x: " + b"y" * 1_000 + b"\r\n", b"x" * 1_000],
    ids=["many fields", "one field"],
)
def test_a_head_may_not_grow_without_end(endless: bytes) -> None:
    parser = RequestParser()
    sent, found = len(GET), parser.feed(GET + b"GET / HTTP/1.1\r\nhost: a\r\n")
    while not any(isinstance(event, BadRequest) for event in found):
        assert sent <= MAX_HEAD_BYTES + 2 * len(endless)
        sent += len(endless)
        found = parser.feed(endless)

    assert found[-1] == BadRequest(431, f"The request head is larger than {MAX_HEAD_BYTES:,} bytes.")


@pytest.mark.parametrize("endless", [b"trailer: " + b"y" * 1_000 + b"\r\n", b"\r\n" * 500], ids=["trailers", "blank"])
def test_neither_may_what_is_no_body(endless: bytes) -> None:
    before = CHUNKED[: CHUNKED.index(b"trailer")] if endless.startswith(b"trailer") else GET

    *_, problem = events(before, *[endless] * (MAX_HEAD_BYTES // len(endless) + 1))

    assert isinstance(problem, BadRequest)
    assert problem.status == 431


def test_damage_raises_nothing_and_means_the_same_however_it_is_cut() -> None:
    assert fuzz_request_parser.FUZZER.run(seconds=30, seed=1, most=300) == 300
