"""
One client request and its answer, over raw ASGI: headers, a body with a limit, one start, chunks, and the moment the
client hangs up.

A hang-up is a callback and not a task that waits for it: the server's protocol (`server`) puts itself into the scope,
and whoever waits for an upstream registers what has to be stopped. An idle gap of the upstream is no different from a
busy stream: the callback comes when the socket closes.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from core.models.models_file import Model
from core.principal import Principal
from core.usage.event_id import event_id
from gateway.inbound.headers import Headers

if TYPE_CHECKING:
    from gateway.accounting.reservation import Reservation

__all__ = ["ClientGone", "Exchange"]

Receive = Callable[[], Awaitable[dict[str, Any]]]


class ClientGone(Exception):
    """The client has hung up; nobody will read an answer."""

    status = 499
    """What logs and events say instead of an answer's status."""


class ClientConnection(Protocol):
    """What the server's protocol offers beyond ASGI."""

    on_hang_up: Callable[[], None] | None
    hung_up: bool

    @property
    def blocked(self) -> bool:
        """The client reads more slowly than the answer comes."""

    async def drain(self) -> None:
        """Wait until the client has read most of what was written; hang up on one that reads nothing."""

    def whole_body(self, cycle: Any) -> bytes | None:
        """The body of the request `cycle`, if all of it has arrived."""

    def answer(self, cycle: Any, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer in one write."""

    def start_stream(self, cycle: Any, status: int, headers: Headers) -> None:
        """The head of an answer whose length nobody knows; chunks follow."""

    def write_chunk(self, chunk: bytes) -> None:
        """A part of the stream, not empty."""

    def end_stream(self, cycle: Any, chunk: bytes) -> None:
        """`chunk` is the last one and may be empty."""


class Exchange:
    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = scope["headers"]
        """One value a field: `request_reader` has joined what came repeated."""
        self.principal: Principal | None = None
        self.model: Model | None = None
        self.reservation: Reservation | None = None
        self.body_bytes = 0
        """Counted by `bodies`."""
        self.started = False
        self.finished = False
        self.quiet = True
        """Nothing has been sent since somebody last set this."""
        self.status = 0
        self.answer_headers: Headers = []
        """Headers that every answer to this request carries, errors included."""
        self.received_at = time.monotonic()
        self.received_ms = time.time_ns() // 1_000_000
        """Since 1970."""
        self.request_id = event_id(self.received_ms, os.urandom(10))
        """Also the id of the reservation and of the usage event."""
        self.upstream_seconds = 0.0
        """Time spent waiting for upstreams before the first byte of the answer."""
        self.first_byte_seconds = 0.0
        self._receive = receive
        self._connection: ClientConnection
        # Taken out: it leads back to the scope, and only the garbage collector would end such a cycle.
        self._connection, self._cycle = scope["extensions"].pop("poindexter.connection")

    @property
    def client_gone(self) -> bool:
        return self._connection.hung_up

    def on_hang_up(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` once, when the client hangs up; at once if it has. None forgets the one before."""
        self._connection.on_hang_up = callback
        if callback is not None and self._connection.hung_up:
            callback()

    @property
    def announced_bytes(self) -> int:
        """Of the body; 0 when it comes in chunks."""
        return int(self.headers.get(b"content-length", b"0"))

    @property
    def whole_body(self) -> bytes | None:
        """If all of it has arrived; in that usual case nobody has to wait for it."""
        return self._connection.whole_body(self._cycle)

    async def read_piece(self) -> tuple[bytes, bool]:
        """What has arrived of the body, and whether there is more to come. Raises ClientGone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message["body"], message["more_body"]

    def start(self, status: int, headers: Headers) -> None:
        """Begin a streamed answer."""
        self._note_start(status)
        if not self._connection.hung_up:
            self._connection.start_stream(self._cycle, status, [*headers, *self.answer_headers])

    async def send(self, chunk: bytes, *, more: bool = True) -> None:
        """Waits while the client's connection is full. Raises ClientGone."""
        connection = self._connection
        if connection.blocked:
            await connection.drain()
        if connection.hung_up:
            raise ClientGone
        self.quiet = False
        if more:
            connection.write_chunk(chunk)
        else:
            connection.end_stream(self._cycle, chunk)
            self.finished = True

    def pass_on(self, chunk: bytes) -> bool:
        """As `send` without waiting: False, and nothing is sent, when the client's connection is full or gone."""
        connection = self._connection
        if connection.blocked or connection.hung_up:
            return False
        if chunk:
            self.quiet = False
            connection.write_chunk(chunk)
        return True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Start and body in one. Raises ClientGone."""
        self._note_start(status)
        connection = self._connection
        if connection.blocked:
            await connection.drain()
        if connection.hung_up:
            raise ClientGone
        connection.answer(self._cycle, status, [*headers, *self.answer_headers], body)
        self.finished = True

    def _note_start(self, status: int) -> None:
        self.started = True
        self.status = status
        self.first_byte_seconds = time.monotonic() - self.received_at
