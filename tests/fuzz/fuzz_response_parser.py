"""
Throws broken responses at the parser of upstream responses.

Whatever arrives, the parser understands it or raises a TransportError, and says the same however the bytes are split.
"""

import random
import sys
import time

from gateway.outbound.errors import TransportError
from gateway.outbound.response_parser import ResponseParser
from tests.gateway.outbound.responses import GOOD, REFUSED

CORPUS = [case[0] for case in GOOD] + REFUSED
FRAGMENTS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0\r\n\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Content-Encoding: gzip\r\n", b"ffffffffffffffff", b"-1", b"\xff" * 8,
]  # fmt: skip
MAX_HEAD_BYTES = 2048


def fuzz_one(data: bytes) -> None:
    """Raises AssertionError if the parser contradicts itself, and whatever it should not raise."""
    whole = _outcome([data]) if data else None
    if whole is not None:
        assert _outcome([data[index : index + 1] for index in range(len(data))]) == whole, data


def mutate(dice: random.Random) -> bytes:
    """A response from the corpus, or two, damaged in a few places."""
    data = bytearray(dice.choice(CORPUS))
    if dice.random() < 0.3:
        data += dice.choice(CORPUS)
    for _ in range(dice.randrange(6)):
        DAMAGE[dice.randrange(len(DAMAGE))](data, dice)
    return bytes(data)


def run(*, seconds: float, seed: int, most: int = sys.maxsize) -> int:
    """Fuzz until the time or the number of cases is up; returns how many were tried."""
    dice = random.Random(seed)
    end = time.monotonic() + seconds
    tried = 0
    while tried < most and time.monotonic() < end:
        fuzz_one(mutate(dice))
        tried += 1
    return tried


def _outcome(pieces: list[bytes]) -> object:
    parser = ResponseParser(max_head_bytes=MAX_HEAD_BYTES)
    try:
        for piece in pieces:
            parser.feed(piece)
    except TransportError:
        return "refused"
    assert all(b"\r" not in value and b"\n" not in value and b"\0" not in value for _, value in parser.headers)
    ended = parser.complete
    return parser.status, parser.headed, parser.headers, b"".join(parser.body), ended, ended or parser.eof()


def _flip(data: bytearray, dice: random.Random) -> None:
    if data:
        data[dice.randrange(len(data))] = dice.randrange(256)


def _cut(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data) + 1)
    del data[start : start + dice.randrange(1, 9)]


def _insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(FRAGMENTS)


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data) + 1)
    part = data[start : start + dice.randrange(1, 40)]
    data[start:start] = part * dice.randrange(1, 20)


DAMAGE = [_flip, _cut, _insert, _repeat]
