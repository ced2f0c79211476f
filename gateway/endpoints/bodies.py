"""
From the bytes of a body to a request, within bounds: bytes of one body and of all bodies together, seconds, values.

The usual body has arrived whole and is small; it is parsed at once. A large one, or one that is still on its way, is
read only for a key that may be used (`standing`), and a very large one is parsed beside the loop, few at a time.
"""

import asyncio
from collections.abc import Callable

from core.principal import Principal
from gateway.admission.standing import Standing
from gateway.dialects.generation_request import GenerationRequest
from gateway.endpoints.json_size import holds_more_values
from gateway.errors import BodyTimeout, BodyTooLarge, Overloaded, UnsupportedCoding
from gateway.inbound.exchange import Exchange

__all__ = ["Bodies"]

LARGE_BYTES = 65_536
"""A smaller body can't hold enough values to matter."""
VERY_LARGE_BYTES = 1 << 20
PARSED_AT_ONCE = 2
"""Of the very large ones: the parser keeps the interpreter to itself while it works."""
MAX_VALUES = 200_000
"""In one body; a parser makes an object of each."""

Parse = Callable[[bytes], GenerationRequest]


class Bodies:
    """`release` gives back what `read` has counted, when the request has ended."""

    def __init__(self, standing: Standing, *, max_bytes: int, max_seconds: float, max_bytes_together: int) -> None:
        self._standing = standing
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._max_bytes_together = max(max_bytes, max_bytes_together)
        self._bytes = 0
        self._parsing = asyncio.Semaphore(PARSED_AT_ONCE)

    async def read(self, client: Exchange, principal: Principal, parse: Parse) -> GenerationRequest:
        """Raises UnsupportedCoding, BodyTooLarge (before reading what is announced), BodyTimeout, Overloaded,
        ClientGone, and what `Standing.require` and `GenerationRequest.parse` raise."""
        coding = client.headers.get(b"content-encoding")
        if coding is not None and coding.lower() not in (b"", b"identity"):
            raise UnsupportedCoding("Request bodies can't be compressed: send this one without `Content-Encoding`.")
        body = client.whole_body
        if body is None or len(body) > min(LARGE_BYTES, self._max_bytes):
            return await self._large(client, principal, body, parse)
        self._take(client, len(body))
        return parse(body)

    def release(self, client: Exchange) -> None:
        self._bytes -= client.body_bytes
        client.body_bytes = 0

    async def _large(
        self, client: Exchange, principal: Principal, body: bytes | None, parse: Parse
    ) -> GenerationRequest:
        if (client.announced_bytes if body is None else len(body)) > self._max_bytes:
            raise self._too_large()
        await self._standing.require(principal)
        if body is None:
            body = await self._read(client)
        else:
            self._take(client, len(body))
        if len(body) <= VERY_LARGE_BYTES:
            return _parse(body, parse)
        async with self._parsing:
            return await asyncio.to_thread(_parse, body, parse)

    async def _read(self, client: Exchange) -> bytes:
        pieces: list[bytes] = []
        more = True
        try:
            async with asyncio.timeout(self._max_seconds):
                while more:
                    piece, more = await client.read_piece()
                    if client.body_bytes + len(piece) > self._max_bytes:
                        raise self._too_large()
                    self._take(client, len(piece))
                    pieces.append(piece)
        except TimeoutError:
            raise BodyTimeout(f"The request body did not arrive within {self._max_seconds:g} seconds.") from None
        return b"".join(pieces)

    def _take(self, client: Exchange, size: int) -> None:
        if self._bytes + size > self._max_bytes_together:
            raise Overloaded("This gateway holds too many large requests. Please try again.", retry_after=1.0)
        self._bytes += size
        client.body_bytes += size

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._max_bytes:,} bytes.")


def _parse(body: bytes, parse: Parse) -> GenerationRequest:
    if len(body) > LARGE_BYTES and holds_more_values(body, MAX_VALUES):
        raise BodyTooLarge(f"The request body holds more than {MAX_VALUES:,} JSON values.")
    return parse(body)
