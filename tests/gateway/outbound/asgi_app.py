"""The upstream behind the real servers of test_real_servers: small, and honest about what it was sent."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNKS = [b"data: %d\n\n" % number for number in range(100)]
LARGE = bytes(range(256)) * 20_000


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    body = await _body(receive)
    path = scope["path"]
    if path == "/echo":
        await _answer(send, 200, [(b"content-length", b"%d" % len(body))], [body])
    elif path == "/stream":
        await _answer(send, 200, [(b"content-type", b"text/event-stream")], CHUNKS)
    elif path == "/large":
        await _answer(send, 200, [], [LARGE])
    elif path == "/empty":
        await _answer(send, 204, [], [])
    elif path == "/last":
        await _answer(send, 200, [(b"content-length", b"3"), (b"connection", b"close")], [b"bye"])
    elif path == "/dies":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("as asked")
    else:
        await _answer(send, 529, [(b"content-length", b"4"), (b"retry-after", b"7")], [b"busy"])


async def _body(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
