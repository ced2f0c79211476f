"""
A provider that costs next to nothing: `python -m loadtests.mock_upstream --port 9400`.

It answers OpenAI's chat completions and Anthropic's messages with constant bytes, whole or streamed, one write per
chunk. Paced streams share one timer, whatever their number: each has its own phase, so ten thousand of them send evenly
and not in one burst. It knows just enough HTTP for keep-alive clients that send `content-length`.
"""

import argparse
import asyncio
import re
import socket
from collections import deque
from typing import cast

import uvloop

from loadtests.mock_answers import FLAVOURS, Flavour, shape_of, whole_answer

__all__ = ["MockConnection", "Pacer", "main"]

CONTENT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
STREAMED = re.compile(rb'"stream"\s*:\s*true')
NOT_FOUND = whole_answer(
    {"error": {"message": "The mock knows no such path.", "type": "invalid_request_error"}}
).replace(b"200 OK", b"404 Not Found", 1)
TICK_SECONDS = 0.001
BACKLOG = 4096


class Pacer:
    """Streams of one pause, spread over the milliseconds of that pause."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pause_ms: int) -> None:
        self._loop = loop
        self._slots: list[set[MockConnection]] = [set() for _ in range(pause_ms)]
        self._begun = loop.time()
        self._done = 0
        loop.call_later(TICK_SECONDS, self._tick)

    def add(self, connection: "MockConnection") -> None:
        """Its next chunk is due in one pause from now."""
        self._slots[self._done % len(self._slots)].add(connection)

    def _tick(self) -> None:
        now = int((self._loop.time() - self._begun) / TICK_SECONDS)
        while self._done < now:
            self._done += 1
            slot = self._slots[self._done % len(self._slots)]
            slot -= {connection for connection in slot if not connection.write_chunk()}
        self._loop.call_later(TICK_SECONDS, self._tick)


class MockConnection(asyncio.Protocol):
    """One client connection; requests on it are answered one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pacers: dict[int, Pacer]) -> None:
        self._loop = loop
        self._pacers = pacers
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._flavour: Flavour | None = None
        """Of the stream that is under way."""
        self._chunks_left = 0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = CONTENT_LENGTH.search(data, 0, end)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(data) < stop:
                break
            self._take(data[: data.index(b"\r\n")].split(b" ")[1], data[end + 4 : stop])
            data = data[stop:]
        self._unread = data

    def write_chunk(self) -> bool:
        """False when the stream has ended. A client that does not read delays its chunks."""
        if self._transport is None or self._flavour is None:
            return False
        if self._full:
            return True
        if self._chunks_left:
            self._chunks_left -= 1
            self._transport.write(self._flavour.chunk())
            return True
        self._transport.write(self._flavour.stream_end)
        self._flavour = None
        while self._waiting and self._flavour is None:
            self._answer(*self._waiting.popleft())
        return False

    def _take(self, path: bytes, body: bytes) -> None:
        if self._flavour is None:
            self._answer(path, body)
        else:
            self._waiting.append((path, body))

    def _answer(self, path: bytes, body: bytes) -> None:
        if self._transport is None:
            return
        flavour = FLAVOURS.get(path)
        if flavour is None:
            self._transport.write(NOT_FOUND)
        elif STREAMED.search(body) is None:
            self._transport.write(flavour.whole)
        else:
            self._start(flavour, body)

    def _start(self, flavour: Flavour, body: bytes) -> None:
        shape = shape_of(body)
        self._flavour = flavour
        self._chunks_left = shape.chunks
        cast(asyncio.Transport, self._transport).write(flavour.stream_start)
        if shape.pause_ms == 0:
            self._loop.call_soon(self._write_on)
        else:
            self._pacer(shape.pause_ms).add(self)

    def _write_on(self) -> None:
        """One chunk in a turn of the loop: the event loop joins what is written within one."""
        if not self.write_chunk():
            return
        if self._full:
            self._loop.call_later(TICK_SECONDS, self._write_on)
        else:
            self._loop.call_soon(self._write_on)

    def _pacer(self, pause_ms: int) -> Pacer:
        pacer = self._pacers.get(pause_ms)
        if pacer is None:
            pacer = self._pacers[pause_ms] = Pacer(self._loop, pause_ms)
        return pacer


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    pacers: dict[int, Pacer] = {}
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    server = await loop.create_server(lambda: MockConnection(loop, pacers), sock=listener, backlog=BACKLOG)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one; its URL is printed")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port))


if __name__ == "__main__":
    main()
