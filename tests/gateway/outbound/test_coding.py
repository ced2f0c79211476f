"""E15: an upstream, or a CDN before it, compresses although we ask for none."""

import gzip
import zlib

import pytest

from gateway.outbound.coding import decoded
from gateway.outbound.errors import AnswerTooLarge, MalformedResponse
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import Call, answer_then_close, answer_with, opened, peer, transport

TEXT = b'{"error": {"message": "' + b"so it is " * 50 + b'"}}'
WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)
RAW = zlib.compressobj(wbits=-15)
RAW_TEXT = RAW.compress(TEXT) + RAW.flush()
CODED = [(b"gzip", gzip.compress(TEXT, mtime=0)), (b"deflate", zlib.compress(TEXT)), (b"deflate", RAW_TEXT)]


def compressed(status: bytes, body: bytes, coding: bytes = b"gzip", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b X\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, coding, size, body)


@pytest.mark.parametrize(("coding", "body"), CODED)
def test_what_is_usual_is_read(coding: bytes, body: bytes) -> None:
    assert decoded(body, coding, 10_000) == TEXT


def test_no_more_is_unpacked_than_wanted() -> None:
    bomb = gzip.compress(bytes(50_000_000))

    assert len(decoded(bomb, b"gzip", 1000)) == 1000


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"\xff"])
def test_what_is_not_usual_is_refused_by_name(coding: bytes) -> None:
    with pytest.raises(MalformedResponse, match="compressed"):
        decoded(TEXT, coding, 1000)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_damage_is_refused(coding: bytes) -> None:
    with pytest.raises(MalformedResponse, match="damaged"):
        decoded(b"\x00" + TEXT, coding, 1000)


@pytest.mark.parametrize(("coding", "body"), CODED)
async def test_a_whole_body_arrives_unpacked(coding: bytes, body: bytes) -> None:
    async with peer(answer_with(compressed(b"200", body, coding))) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        assert await exchange.read(10_000) == TEXT
        exchange.close()


async def test_a_body_that_unpacks_to_more_than_the_limit_is_too_large() -> None:
    async with peer(answer_with(compressed(b"200", gzip.compress(bytes(5000))))) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(AnswerTooLarge):
            await exchange.read(4999)
        exchange.close()


async def test_a_refusal_is_read_as_far_as_it_is_wanted() -> None:
    """S23: a 400 of more than 64 KB."""
    answer = b"HTTP/1.1 400 X\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 1_000_000
    async with peer(answer_with(answer)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        assert await exchange.read_some(1000) == b"x" * 1000
        exchange.close()


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (b"HTTP/1.1 400 X\r\ncontent-length: 10\r\n\r\nhalf", b"half"),
        (compressed(b"400", gzip.compress(TEXT)), TEXT),
        (compressed(b"400", TEXT, b"br"), b""),
        (compressed(b"400", TEXT), b""),
        (compressed(b"400", gzip.compress(TEXT)[:50], length=500), b""),
    ],
    ids=["broken off", "compressed", "unknown coding", "damaged", "compressed and broken off"],
)
async def test_a_refusal_that_can_not_be_read_is_still_a_refusal(answer: bytes, read: bytes) -> None:
    async with peer(answer_then_close(answer)) as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        assert (exchange.status, await exchange.read_some(10_000)) == (400, read)
        exchange.close()


async def test_the_caller_is_told_of_the_coding_of_each_answer_alone() -> None:
    async def twice(call: Call) -> None:
        await call.request()
        await call.send(compressed(b"200", gzip.compress(TEXT)))
        await call.request()
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await call.closed_by_client()

    async with peer(twice) as upstream, transport() as client:
        codings = []
        for _ in range(2):
            exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)
            codings.append(exchange.coding)
            await exchange.read(10_000)
            exchange.close()

    assert (codings, upstream.accepted) == ([b"gzip", b""], 1)
