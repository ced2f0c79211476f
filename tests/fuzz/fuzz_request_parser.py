"""
Throws broken requests at the parser of the public port.

However the bytes are split, the requests are the same; it never raises, and a BadRequest is its last word.
"""

from gateway.inbound.request_parser import BadRequest, Event, RequestHead, RequestParser
from tests.fuzz.damage import Fuzzer

CORPUS = [
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\naccept: a\r\nAccept: b\r\n\r\n",
    b"POST /v1/chat/completions?a=%20 HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nt: 1\r\n\r\n",
    b"GET http://x/a%2fb HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n\r\n\r\nHEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
]
FRAGMENTS = [
    b"\r\n", b"\n", b"\r", b"\0", b": ", b"host: y\r\n", b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n", b"upgrade: websocket\r\n", b"connection: upgrade\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"0\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n", b"%", b"\xff", b" ", b"\t", b"x" * 300,
]  # fmt: skip


def fuzz_one(data: bytes) -> None:
    whole = _parsed([data])
    middle = len(data) // 2
    assert _parsed([data[:middle], data[middle:]]) == whole, data
    assert _parsed([data[index : index + 1] for index in range(len(data))]) == whole, data


def _parsed(pieces: list[bytes]) -> list[Event | int]:
    """The events, with the pieces of each body joined, and the status of a BadRequest: of two faults either may be
    named. Behind it nothing is fed."""
    parser = RequestParser()
    found: list[Event] = []
    for piece in filter(None, pieces):
        for event in parser.feed(piece):
            assert not (found and isinstance(found[-1], BadRequest)), "something follows a BadRequest"
            if isinstance(event, RequestHead):
                assert event.method, "a request without a method"
            if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
        if found and isinstance(found[-1], BadRequest):
            return [*found[:-1], found[-1].status]
    return list(found)


FUZZER = Fuzzer(fuzz_one, CORPUS, FRAGMENTS)
