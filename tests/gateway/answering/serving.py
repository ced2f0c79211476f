"""
The way of an answer through this process: scripted upstreams on one side, a client's socket on the other, and between
them the real router, failover and relay, with a reservation that was granted beforehand.

    async with bench_on(tmp_path, redis_url) as bench, peer(answer_with(whole(completion()))) as upstream:
        async with serving(bench, upstream) as gateway, wire(gateway.port) as client:
            await client.send(ask())
            head, answer = await client.answer()
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from core.models.models_file import ModelsFile
from core.process.failpoints import Failpoints
from core.usage.usage_event import UsageEvent
from gateway.accounting.reservation import Reservation
from gateway.answering.client_disconnects import ClientDisconnects
from gateway.answering.failover import Failover
from gateway.answering.keep_alive import KeepAlives
from gateway.answering.relay import Relay
from gateway.dialects.openai.chat_api import ChatApi
from gateway.dialects.openai.chat_request import parse_chat
from gateway.endpoints.router import Router
from gateway.inbound.exchange import Exchange
from gateway.outbound.client import Transport
from gateway.records.request_record import RequestRecord
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.retry_policy import RetryPolicy
from gateway.upstreams.upstream import Places, Upstream
from tests.gateway.accounting.bench import Bench
from tests.gateway.inbound.listening import Listening, listening
from tests.gateway.outbound.peer import STREAM_HEAD, Call, Peer, Script, transport
from tests.gateway.wire import request
from tests.harness.waiting import until

__all__ = ["END", "Cue", "Provider", "Serving", "ask", "event", "serving", "stream_of", "upstreams_at", "whole"]

END = b"0\r\n\r\n"
"""Of a body in chunks."""
API = ChatApi()
KEEP_ALIVE_SECONDS = 0.1
QUICK = RetryPolicy(base_delay=0.0)
BREAKER = CircuitBreaker()
PROVIDER = """
[providers.{name}]
schema = "{schema}"
base_url = "http://{host}:{port}/v1"
api_key = "sk-0123456789abcdef"
"""
MODEL = """
[models.m]
context_tokens = 10_000
max_output_tokens = 2_000
price = {{ input = "1.00", output = "5.00" }}
targets = [{targets}]
"""


def ask(text: str = "Hi", **more: Any) -> bytes:
    """A client's whole request."""
    return request(None, json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode())


def whole(document: object, *, status: int = 200, headers: bytes = b"") -> bytes:
    """An upstream's whole answer."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 %d Any\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body)


def event(document: object) -> bytes:
    """An event of a stream, as one chunk of the body."""
    text = document if isinstance(document, str) else json.dumps(document)
    data = b"data: %b\n\n" % text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream_of(*documents: object, done: bool = True) -> bytes:
    """An upstream's streamed answer. Without `done` it is not over: neither [DONE] nor the body's end."""
    events = b"".join(event(document) for document in documents)
    return STREAM_HEAD + events + (event("[DONE]") + END if done else b"")


class Cue:
    """Lets a script go on when the test says so."""

    def __init__(self) -> None:
        self.given = asyncio.Event()

    def pauses_between(self, *parts: bytes, then: Callable[[Call], None] | None = None) -> Script:
        """Send the first part, and the others after the cue; `then` do something with the connection."""

        async def play(call: Call) -> None:
            await call.request()
            await call.send(parts[0])
            await self.given.wait()
            for part in parts[1:]:
                await call.send(part)
            if then is not None:
                then(call)
            await call.closed_by_client()

        return play


class Provider:
    """A script for a peer: one answer after the other, over any number of connections, the last one again and again. An
    answer is bytes, or what to do with the connection that asks. Keeps what it was asked."""

    def __init__(self, *answers: bytes | Callable[[Call], Awaitable[None]]) -> None:
        self.asked: list[bytes] = []
        self._answers = answers

    async def __call__(self, call: Call) -> None:
        while True:
            self.asked.append(await call.request())
            answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
            await (call.send(answer) if isinstance(answer, bytes) else answer(call))


def upstreams_at(*peers: Peer, schemas: Sequence[str] = (), breaker: CircuitBreaker = BREAKER) -> list[Upstream]:
    """One target at each, tried in this order."""
    providers, targets = [], []
    for number, upstream in enumerate(peers):
        name, origin = f"p{number}", upstream.origin
        schema = schemas[number] if schemas else "openai"
        providers.append(PROVIDER.format(name=name, schema=schema, host=origin.host, port=origin.port))
        targets.append(f'{{ provider = "{name}", model = "{name}-m", priority = {number} }}')
    text = "".join(providers) + MODEL.format(targets=", ".join(targets))
    model = ModelsFile.parse(text, {}).models["m"]
    return [Upstream(target, Places(0), connect_seconds=5.0, breaker=breaker) for target in model.targets]


class Serving:
    """`upstreams`, `clients`, `reservations` and `records` are of the requests so far; a record comes at the end."""

    def __init__(
        self, bench: Bench, client: Transport, upstreams: Sequence[Upstream], failover: Failover, *, on_trust: bool
    ) -> None:
        self.bench = bench
        self.transport = client
        self.upstreams = upstreams
        self.clients: list[Exchange] = []
        self.reservations: list[Reservation] = []
        self.records: list[RequestRecord] = []
        self.keep_alives = KeepAlives(seconds=KEEP_ALIVE_SECONDS)
        self.router = Router(
            {"/v1/chat/completions": {"POST": self._answer}},
            {},
            (self.records.append,),
            default_api=API,
            apis={},
            max_open_requests=100,
        )
        self.server: Listening
        self._failover = failover
        self._relay = Relay(Failpoints())
        self._on_trust = on_trust

    @property
    def port(self) -> int:
        return self.server.port

    async def ended(self, count: int = 1) -> None:
        """So many requests have ended."""
        await until(lambda: len(self.records) == count, f"{count} requests that have ended")

    async def recorded(self) -> UsageEvent:
        """The one event of the one request, when it has ended."""
        await self.ended()
        [event] = await self.bench.recorded()
        assert event.event_id == self.reservations[0].event_id
        return event

    async def _answer(self, client: Exchange, record: RequestRecord) -> None:
        body, more = b"", True
        while more:
            piece, more = await client.read_piece()
            body += piece
        chat = parse_chat(body)
        reservation = self.bench.reservation(event_id=record.request_id, on_trust=self._on_trust, stream=chat.stream)
        self.clients.append(client)
        self.reservations.append(reservation)
        if chat.stream:
            self.keep_alives.add(client, record, API, chat, reservation)
        try:
            answer = await self._failover.open(client, record, chat, self.upstreams, reservation)
            await self._relay.run(client, record, API, answer, reservation)
        except BaseException as error:
            await reservation.fail(error)
            raise
        finally:
            self.keep_alives.remove(client)
            self.bench.leases.remove(reservation)


@asynccontextmanager
async def serving(
    bench: Bench,
    *peers: Peer,
    upstreams: Sequence[Upstream] = (),
    policy: RetryPolicy = QUICK,
    max_answer_bytes: int = 1 << 20,
    max_drains: int = 0,
    drain_seconds: float = 30.0,
    on_trust: bool = False,
    send_buffer: int | None = None,
) -> AsyncIterator[Serving]:
    """In front of `upstreams`, or of one OpenAI target at each peer. At the end no request may occupy an upstream."""
    disconnects = ClientDisconnects(max_drains=max_drains, drain_seconds=drain_seconds)
    async with transport() as client:
        failover = Failover(client, policy, disconnects, Failpoints(), max_answer_bytes=max_answer_bytes)
        gateway = Serving(bench, client, upstreams or upstreams_at(*peers), failover, on_trust=on_trust)
        async with listening(gateway.router, send_buffer=send_buffer) as gateway.server:
            yield gateway
    assert [upstream._places.taken for upstream in gateway.upstreams] == [0] * len(gateway.upstreams)
