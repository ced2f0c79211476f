"""One connection to an upstream: writes a request, feeds the answer to its exchange, guards every wait."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from gateway.outbound.errors import (
    ConnectionLost,
    ExchangeAborted,
    FirstByteTimeout,
    IdleTimeout,
    MalformedResponse,
    TransportError,
)
from gateway.outbound.exchange import Carrier, UpstreamExchange
from gateway.outbound.response_parser import ResponseParser

MAX_UNDELIVERED_BYTES = 256 * 1024
WRITE_PIECE_BYTES = 128 * 1024
CLOCK_SLACK_SECONDS = 0.002  # uvloop's clock counts milliseconds; a timer may fire that much early.

# A peer that closes an idle connection while our request is on its way answers with a close within a round trip.
# One that held the request for longer has died over it, and a second copy would make it generate twice.
STALE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Owner:
    """What a connection tells whoever made it."""

    idle_seconds: float
    free: "Callable[[UpstreamConnection], None]"
    """It has served its exchange and may serve another."""
    closing: "Callable[[UpstreamConnection], None]"
    """It will close: nothing may be sent on it any more."""
    lost: "Callable[[UpstreamConnection, UpstreamExchange | None], None]"
    """It is closed. The exchange, if there is one, needs a fresh connection: the upstream has seen nothing of it."""


class UpstreamConnection(asyncio.Protocol):
    """
    Serves one exchange after the other, never two at once.

    One timer for the whole life, re-armed lazily: a request or a chunk only moves the deadline that the timer compares
    with when it fires. So time-outs cost no timer call per request, and none per chunk.
    """

    __slots__ = (
        "_armed_for",
        "_carrier",
        "_exchange",
        "_last_activity",
        "_loop",
        "_now",
        "_owner",
        "_parser",
        "_reused",
        "_timer",
        "_transport",
        "_unsent",
        "_writing_paused",
        "closed",
    )

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, max_head_bytes: int) -> None:
        self.closed = False
        self._owner = owner
        self._loop = loop
        self._now = loop.time
        self._parser = ResponseParser(max_head_bytes=max_head_bytes)
        self._carrier: Carrier | None = Carrier(self._parser, self.drop, self.release, self.resume_reading)
        self._exchange: UpstreamExchange | None = None
        self._transport: asyncio.Transport | None = None
        self._reused = False
        self._unsent: memoryview | None = None
        self._writing_paused = False
        self._last_activity = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = math.inf

    def start(self, exchange: UpstreamExchange) -> None:
        """Send the request of an exchange; from now on this connection is its own."""
        self._exchange = exchange
        exchange.attach(self._carrier)
        self._last_activity = self._now()
        self._watch()
        self._write(exchange.head_bytes, exchange.body)

    def release(self) -> None:
        """The exchange is done with us: wait for the next one, or close where that is not safe."""
        exchange, self._exchange = self._exchange, None
        parser = self._parser
        if self.closed or exchange is None or exchange.paused or not self._is_clean(parser):
            self.drop()
            return
        parser.reset()
        self._reused = True
        self._last_activity = self._now()
        self._owner.free(self)
        if self._exchange is None and not self.closed:
            self._watch()

    def drop(self) -> None:
        """Close at once, without a word to the exchange; it knows, or there is none."""
        self._exchange = None
        self._parser.body.clear()
        self.abort()

    def abort(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._owner.closing(self)
        self._unsent = None
        if self._transport is not None:
            self._transport.abort()

    def shut(self) -> None:
        """The transport closes."""
        if self._exchange is not None:
            self._exchange.abort(ExchangeAborted("the transport was closed", dispatched=True))
        self.abort()

    def resume_reading(self) -> None:
        if not self.closed and self._transport is not None:
            self._last_activity = self._now()  # The pause was ours, not the upstream's.
            self._watch()
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # Bytes without a request.
            return
        parser = self._parser
        try:
            parser.feed(data)
        except MalformedResponse as error:
            self._fail(error)
            return
        if not parser.headed:
            return  # Only the whole head ends the wait for it: dribbled bytes buy no time.
        self._last_activity = self._now()
        if not exchange.headed:
            self._accept_head(exchange)
        exchange.undelivered += len(data)
        if exchange.undelivered > MAX_UNDELIVERED_BYTES:
            self._pause_reading(exchange)
        exchange.arrived()

    def eof_received(self) -> None:
        self.abort()  # Left to itself, the loop would first flush our request to a peer that has gone.

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            self._owner.lost(self, None)
        elif self._went_stale():
            exchange.attach(None)
            self._owner.lost(self, exchange)
        else:
            self._owner.lost(self, None)
            self._end_by_peer(exchange, exc)
        self._parser.close()
        self._carrier = None  # It leads back here.

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._unsent is not None:
            self._last_activity = self._now()  # The upstream took some of the request: its time starts again.
            self._write_more()

    def _write(self, head: bytes, body: bytes) -> None:
        transport = self._transport
        if transport is None:
            raise RuntimeError("the connection is not made yet")
        if len(body) <= WRITE_PIECE_BYTES:
            transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            return
        transport.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
        self._unsent = memoryview(body)
        self._write_more()

    def _write_more(self) -> None:
        """Write the rest of a large body, a piece at a time, for as long as the transport takes it."""
        while self._unsent is not None and not self._writing_paused and self._transport is not None:
            piece, rest = self._unsent[:WRITE_PIECE_BYTES], self._unsent[WRITE_PIECE_BYTES:]
            self._unsent = rest if rest else None
            self._transport.write(piece)

    def _accept_head(self, exchange: UpstreamExchange) -> None:
        parser = self._parser
        exchange.accept_head(parser.status, parser.headers, parser.coding)
        if not parser.complete:
            self._watch()

    def _pause_reading(self, exchange: UpstreamExchange) -> None:
        if not exchange.paused and not self._parser.complete and self._transport is not None:
            exchange.paused = True
            self._transport.pause_reading()

    def _is_clean(self, parser: ResponseParser) -> bool:
        sent = self._unsent is None and not self._writing_paused
        return parser.complete and parser.reusable and sent

    def _went_stale(self) -> bool:
        """
        Closed by the peer as idle while our request was on its way: it saw nothing, so once more is safe.

        Only once: the second attempt gets a fresh connection, which cannot be stale.
        """
        return self._reused and self._parser.untouched and self._now() - self._last_activity < STALE_SECONDS

    def _end_by_peer(self, exchange: UpstreamExchange, exc: Exception | None) -> None:
        parser = self._parser
        if parser.complete or (exc is None and parser.eof()):
            exchange.wake()
            return
        received = not parser.untouched
        where = "inside the body" if parser.headed else "inside the head" if received else "without an answer"
        exchange.fail(ConnectionLost(f"the upstream closed the connection {where}", bytes_received=received))

    def _fail(self, error: TransportError) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.fail(error)

    def _watch(self) -> None:
        """Arm the timer only if it would fire too late: the usual request finds it armed early enough."""
        deadline = self._deadline()
        if deadline < self._armed_for:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_for = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _deadline(self) -> float:
        exchange = self._exchange
        if exchange is None:
            return self._last_activity + self._owner.idle_seconds
        if self._parser.complete or exchange.paused:
            return exchange.expires_at
        timeouts = exchange.timeouts
        wait = timeouts.idle if exchange.headed else timeouts.first_byte
        return min(self._last_activity + wait, exchange.expires_at)

    def _on_timer(self) -> None:
        self._timer = None
        self._armed_for = math.inf
        if self._now() + CLOCK_SLACK_SECONDS < self._deadline():
            self._watch()
        else:
            self._expire()

    def _expire(self) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()
        elif self._now() + CLOCK_SLACK_SECONDS >= exchange.expires_at:
            exchange.expire()
            self.drop()
        elif exchange.headed:
            self._fail(IdleTimeout(f"the upstream sent nothing for {exchange.timeouts.idle:g} s"))
        else:
            self._fail(FirstByteTimeout(f"no response head within {exchange.timeouts.first_byte:g} s"))
