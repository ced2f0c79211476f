"""
The HTTP server on a real socket, with answers of the test's own: what is asked one after the other or at once, and how
a connection ends. What a whole gateway makes of it is in test_connections.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from gateway.errors import ClientGone
from gateway.inbound import connection, connections
from gateway.inbound.connection import ClientConnection
from gateway.inbound.exchange import Exchange
from tests.gateway.inbound.listening import Listening, listening
from tests.gateway.wire import Wire, wire
from tests.harness.waiting import until

TEXT = [(b"content-type", b"text/plain")]
HEAD = b" HTTP/1.1\r\nhost: gateway\r\n"
BODY_BYTES = 100_000
END = b"0\r\n\r\n"


def get(path: str, more: bytes = b"") -> bytes:
    return b"GET %b%b%b\r\n" % (path.encode(), HEAD, more)


def post(path: str, body: bytes, more: bytes = b"") -> bytes:
    return b"POST %b%bcontent-length: %d\r\n%b\r\n%b" % (path.encode(), HEAD, len(body), more, body)


async def echo(client: Exchange) -> None:
    """The path, and the size of the body."""
    size, more = 0, True
    while more:
        piece, more = await client.read_piece()
        size += len(piece)
    await client.answer(200, TEXT, f"{client.path} {size}".encode())


async def refuse(client: Exchange) -> None:
    """Early: the body is not read."""
    await client.answer(401, TEXT, b"no")


class Slow:
    """Answers each request when the test says so, or never."""

    def __init__(self) -> None:
        self.begun: list[Exchange] = []
        self.hung_up: list[str] = []
        self.cancelled: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, client: Exchange) -> None:
        self.begun.append(client)
        client.on_hang_up(lambda: self.hung_up.append(client.path))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(client.path)
            raise
        await client.answer(200, TEXT, client.path.encode())


class Streaming(Slow):
    """Says the head and a word at once, and the last word when the test says so."""

    async def __call__(self, client: Exchange) -> None:
        self.begun.append(client)
        client.start(200, TEXT)
        await client.send(b"first")
        await self.go.wait()
        await client.send(b"last", more=False)


async def body_of(client: Wire) -> bytes:
    head = await client.head()
    return await client.exactly(int(head.headers["content-length"]))


def client_connections(gateway: Listening) -> list[ClientConnection]:
    return [one for one in gateway.connections.connections if isinstance(one, ClientConnection)]


async def test_requests_that_come_at_once_are_answered_one_after_the_other_in_their_order() -> None:
    slow = Slow()
    async with listening(slow) as gateway, wire(gateway.port) as client:
        await client.send(get("/1") + post("/2", b"x" * 10) + get("/3"))
        await until(lambda: slow.begun)
        begun_together = len(slow.begun)
        slow.go.set()
        answers = [await body_of(client) for _ in range(3)]

    assert (begun_together, answers) == (1, [b"/1", b"/2", b"/3"])


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
async def test_a_body_of_any_size_is_read_whole_and_the_connection_goes_on(size: int) -> None:
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(post("/a", b"x" * size) + post("/b", b"xx"))
        answers = [await body_of(client) for _ in range(2)]

    assert answers == [b"/a %d" % size, b"/b 2"]


async def test_no_more_of_a_body_is_taken_in_than_somebody_reads() -> None:
    slow = Slow()
    async with listening(slow, send_buffer=4096) as gateway, wire(gateway.port) as client:
        sending = asyncio.create_task(client.send(post("/", b"x" * 20_000_000)))
        await until(lambda: slow.begun and slow.begun[0]._buffered > 65_536)
        held = slow.begun[0]._buffered
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    assert held < 1_000_000


async def test_behind_a_request_that_waits_its_turn_nothing_more_is_read() -> None:
    """Or a client could fill the memory with requests that nobody answers yet."""
    slow = Slow()
    async with listening(slow) as gateway, wire(gateway.port) as client:
        sending = asyncio.create_task(client.send(get("/", b"x-long: %b\r\n" % (b"x" * 30_000)) * 1_000))
        await until(lambda: slow.begun)
        await asyncio.wait({sending}, timeout=0.3)
        [connected] = client_connections(gateway)
        waiting, all_sent = len(connected._waiting), sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    assert (0 < waiting < 50, all_sent) == (True, False)


async def test_an_early_answer_comes_before_the_body_and_the_next_request_behind_it() -> None:
    async with listening(refuse) as gateway, wire(gateway.port) as client:
        whole = post("/", b"x" * BODY_BYTES)
        await client.send(whole[:100])
        early = await body_of(client)
        await client.send(whole[100:] + get("/next"))
        after = await body_of(client)

    assert (early, after) == (b"no", b"no")


async def test_an_early_answer_to_a_body_that_was_not_called_for_ends_the_connection() -> None:
    """It is unknown whether what follows is that body or a request."""
    async with listening(refuse) as gateway, wire(gateway.port) as client:
        await client.send(post("/", b"", b"expect: 100-continue\r\n").replace(b"length: 0", b"length: 10"))
        head = await client.head()
        rest = await client.read_to_end()

    assert (head.status, head.headers["connection"], rest) == (401, "close", b"no")


async def test_a_client_that_is_refused_early_on_its_last_request_can_send_on_and_read_why() -> None:
    """A connection that is closed on unread data is reset, and the answer with it."""
    async with listening(refuse) as gateway, wire(gateway.port) as client:
        whole = post("/", b"x" * 5_000_000, b"connection: close\r\n")
        await client.send(whole[:100])
        await until(lambda: not gateway.connections.tasks and gateway.connections.connections)
        await client.send(whole[100:])
        head = await client.head()
        rest = await client.read_to_end()

    assert (head.status, rest) == (401, b"no")


async def test_a_body_is_called_for_when_somebody_reads_it() -> None:
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(post("/", b"", b"expect: 100-continue\r\n").replace(b"length: 0", b"length: 5"))
        called = await client.head()
        await client.send(b"hello")

        assert (called.status, await body_of(client)) == (100, b"/ 5")


async def test_head_is_answered_with_a_length_and_no_body() -> None:
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(get("/x").replace(b"GET", b"HEAD") + get("/y"))
        head = await client.head()
        following = await body_of(client)

    assert (head.headers["content-length"], following) == (str(len(b"/x 0")), b"/y 0")


CLOSING = {
    "HTTP/1.0": get("/").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "connection: close": get("/", b"connection: close\r\n"),
    "Connection: Close": get("/", b"Connection: Close\r\n"),
}


@pytest.mark.parametrize("request_", CLOSING.values(), ids=CLOSING.keys())
async def test_the_connection_ends_behind_the_answer_to_a_last_request(request_: bytes) -> None:
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(request_ + get("/never"))
        head = await client.head()
        rest = await client.read_to_end()

    assert (head.headers["connection"], rest) == ("close", b"/ 0")


async def test_a_stream_for_http_1_0_is_plain_and_ends_with_the_connection() -> None:
    streaming = Streaming()
    streaming.go.set()
    async with listening(streaming) as gateway, wire(gateway.port) as client:
        await client.send(get("/").replace(b"HTTP/1.1", b"HTTP/1.0"))
        head = await client.head()
        body = await client.read_to_end()

    assert ("transfer-encoding" in head.headers, body) == (False, b"firstlast")


async def test_a_stream_goes_out_chunk_by_chunk() -> None:
    streaming = Streaming()
    async with listening(streaming) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        head = await client.head()
        await client.read_past(b"first")
        before = client.received
        streaming.go.set()
        await client.read_past(END)

    assert head.headers["transfer-encoding"] == "chunked"
    assert (before, client.received) == (b"5\r\nfirst\r\n", b"5\r\nfirst\r\n4\r\nlast\r\n" + END)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_client_that_leaves_is_told_to_whoever_answers_it(reset: bool) -> None:
    """Once, and at once to whoever begins to listen later."""
    slow = Slow()
    late: list[str] = []
    async with listening(slow) as gateway, wire(gateway.port) as client:
        await client.send(get("/1"))
        await until(lambda: slow.begun)
        await client.leave(reset=reset)
        await until(lambda: slow.hung_up)

        slow.begun[0].on_hang_up(lambda: late.append("told"))
        with pytest.raises(ClientGone):
            await slow.begun[0].send(b"")

    assert (slow.hung_up, late) == (["/1"], ["told"])


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_gone_for_its_reader() -> None:
    gone: list[str] = []

    async def read(client: Exchange) -> None:
        try:
            await echo(client)
        except ClientGone:
            gone.append(client.path)

    async with listening(read) as gateway, wire(gateway.port) as client:
        await client.send(post("/half", b"x" * 100)[:-50])
        await until(lambda: gateway.connections.tasks)
        await client.leave()
        await until(lambda: gone)

    assert gone == ["/half"]


@pytest.mark.parametrize("answers", [Slow, Streaming])
async def test_a_client_that_only_ends_its_sending_side_has_its_whole_answer(answers: type[Slow]) -> None:
    slow = answers()
    async with listening(slow) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        await until(lambda: slow.begun)
        client.half_close()
        await client.read_past(b"HTTP/1.1 100 Continue" if answers is Slow else b":\n\n")
        slow.go.set()
        received = await client.read_to_end()

    assert not slow.hung_up
    assert received.endswith(b"/" if answers is Slow else b"4\r\nlast\r\n" + END)


async def test_a_client_that_ended_its_sending_side_and_then_leaves_is_noticed() -> None:
    """Nothing is read from it any more: its reset is looked for."""
    slow = Slow()
    async with listening(slow) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        await until(lambda: slow.begun)
        client.half_close()
        await client.head()
        await client.leave(reset=True)
        await until(lambda: slow.hung_up)
        with pytest.raises(ClientGone):
            await slow.begun[0].answer(200, TEXT, b"")

    assert slow.hung_up == ["/"]


async def test_an_answer_that_is_not_finished_is_seen_to_break_off() -> None:
    async def give_up(client: Exchange) -> None:
        client.start(200, TEXT)
        await client.send(b"half")

    async with listening(give_up) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        await client.head()

        assert await client.read_to_end() == b"4\r\nhalf\r\n"


async def test_what_is_no_request_is_answered_and_ends_the_connection() -> None:
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(b"nonsense\r\n\r\n")
        head, error = await client.answer()
        rest = await client.read_to_end()

    assert (head.status, error["error"]["code"], rest) == (400, "invalid_http", b"")


async def test_a_head_that_does_not_come_in_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    async with listening(echo) as gateway, wire(gateway.port) as client:
        await client.send(get("/")[:20])
        head, error = await client.answer()

    assert (head.status, error["error"]["code"]) == (408, "request_timeout")


async def test_what_is_no_request_is_not_answered_in_the_middle_of_an_answer() -> None:
    """It would be taken for a part of it."""
    streaming = Streaming()
    async with listening(streaming) as gateway, wire(gateway.port) as client:
        await client.send(get("/") + b"nonsense\r\n\r\n")
        await client.head()
        await client.read_past(b"first")
        streaming.go.set()

        assert await client.read_to_end() == b"5\r\nfirst\r\n4\r\nlast\r\n" + END


async def test_a_header_that_would_split_the_answer_is_never_sent() -> None:
    failures: list[Exception] = []

    async def split(client: Exchange) -> None:
        try:
            await client.answer(200, [(b"x-id", b"1\r\nset-cookie: a=b")], b"")
        except ValueError as error:
            failures.append(error)

    async with listening(split) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))

        assert await client.read_to_end() == b""
    assert len(failures) == 1


async def ask_nothing(client: Wire) -> None:
    """As a client that opens connections beforehand."""


async def ask_once(client: Wire) -> None:
    await client.send(get("/"))
    await body_of(client)


@pytest.mark.parametrize("before", [ask_nothing, ask_once])
async def test_a_connection_without_a_request_is_closed_after_a_while(
    before: Callable[[Wire], Awaitable[None]],
) -> None:
    async with listening(echo, idle_seconds=0.1) as gateway, wire(gateway.port) as client:
        await before(client)

        assert await client.read_to_end() == b""


async def test_beyond_their_bound_connections_are_told_so() -> None:
    async with listening(echo, limit=1) as gateway, wire(gateway.port) as first:
        await ask_once(first)
        async with wire(gateway.port) as second:
            head = await second.head()
            await second.read_to_end()
        await ask_once(first)

    assert (head.status, head.headers["retry-after"]) == (503, "1")


async def test_where_connections_are_many_those_that_ask_nothing_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CROWDED_IDLE_SECONDS", 0.0)
    slow = Slow()
    async with listening(slow, limit=4) as gateway, AsyncExitStack() as stack:
        idle, begun, busy = [await stack.enter_async_context(wire(gateway.port)) for _ in range(3)]
        await busy.send(get("/"))
        await begun.send(get("/")[:10])
        await until(lambda: slow.begun and len(gateway.connections.connections) == 3)
        await until(lambda: any(one._head_timer for one in client_connections(gateway)))
        gateway.connections.look(now=0.0)
        few = len(gateway.connections.connections)

        await stack.enter_async_context(wire(gateway.port))
        await until(lambda: len(gateway.connections.connections) == 4)
        gateway.connections.look(now=0.0)
        closed = await idle.read_to_end()
        await begun.send(get("/")[10:])
        slow.go.set()
        answers = [await body_of(client) for client in (busy, begun)]

    assert (few, closed, answers) == (3, b"", [b"/", b"/"])


@pytest.mark.parametrize("answers", [Slow, Streaming])
async def test_a_client_that_takes_nothing_of_its_answer_is_given_up(answers: type[Slow]) -> None:
    ended: list[BaseException] = []

    async def pour(client: Exchange) -> None:
        try:
            if answers is Slow:
                await client.answer(200, TEXT, b"x" * 10_000_000)
            else:
                client.start(200, TEXT)
                while True:
                    await client.send(b"x" * 100_000)
        except ClientGone as error:
            ended.append(error)

    async with (
        listening(pour, stalled_seconds=0.2, send_buffer=4096) as gateway,
        wire(gateway.port, receive_buffer=4096) as client,
    ):
        await client.send(get("/"))
        await until(lambda: gateway.connections.connections)
        await until(lambda: not gateway.connections.connections)

    assert len(ended) == int(answers is Streaming)


async def test_a_drain_closes_idle_connections_and_lets_answers_finish() -> None:
    slow = Slow()
    async with listening(slow) as gateway, AsyncExitStack() as stack:
        idle, busy = [await stack.enter_async_context(wire(gateway.port)) for _ in range(2)]
        await busy.send(get("/busy") + get("/behind"))
        await until(lambda: slow.begun)
        await until(lambda: len(gateway.connections.connections) == 2)

        gateway.server.begin_drain()
        closed = await idle.read_to_end()
        still_open = not gateway.serving.done()
        slow.go.set()
        answers = [(await body_of(busy)), (await body_of(busy))]
        last = await busy.read_to_end()
        await gateway.serving

        assert (closed, still_open, answers, last, len(gateway.drains)) == (b"", True, [b"/busy", b"/behind"], b"", 1)
        with pytest.raises(ConnectionRefusedError):
            async with wire(gateway.port):
                pass


async def test_while_the_balancer_has_not_noticed_new_connections_are_still_served() -> None:
    async with listening(echo, delay_seconds=60.0) as gateway:
        gateway.server.begin_drain()
        async with wire(gateway.port) as client:
            await ask_once(client)

        assert len(gateway.drains) == 1


async def test_after_its_patience_a_drain_cuts_what_is_left() -> None:
    slow = Slow()
    async with listening(slow, grace_seconds=0.1) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        await until(lambda: slow.begun)

        gateway.server.begin_drain()
        await gateway.serving
        received = await client.read_to_end()

    assert (slow.cancelled, received) == (["/"], b"")


async def test_a_second_signal_cuts_at_once_and_waits_for_what_the_cut_leaves_to_do() -> None:
    settled: list[str] = []

    async def settle_at_the_end(client: Exchange) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            settled.append(client.path)

    begun = asyncio.Event()
    async with listening(settle_at_the_end, delay_seconds=60.0) as gateway, wire(gateway.port) as client:
        await client.send(get("/"))
        await begun.wait()

        gateway.server.begin_drain()
        gateway.server.begin_drain()
        await gateway.serving

    assert settled == ["/"]
