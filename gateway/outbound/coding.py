"""What a compressed body says. We ask for none; proxies and CDNs in front of an upstream send some all the same."""

import zlib

from gateway.outbound.errors import MalformedResponse

WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
RAW_DEFLATE = -15
"""What some servers call deflate: without the header that the standard asks for."""


def decoded(body: bytes, coding: bytes, limit: int) -> bytes:
    """The first `limit` bytes of what `body` holds. Raises MalformedResponse."""
    bits = WINDOW_BITS.get(coding)
    if bits is None:
        raise MalformedResponse(
            f"the response is compressed ({coding.decode('latin-1')[:40]}), though none was asked for"
        )
    try:
        return zlib.decompressobj(bits).decompress(body, limit)
    except zlib.error as error:
        if coding != b"deflate":
            raise MalformedResponse(f"the compressed response is damaged: {error}") from None
    try:
        return zlib.decompressobj(RAW_DEFLATE).decompress(body, limit)
    except zlib.error as error:
        raise MalformedResponse(f"the compressed response is damaged: {error}") from None
