import asyncio
import socket
from typing import Any

import pytest

from gateway.outbound.connection import Owner, UpstreamConnection
from gateway.outbound.dialling import STAGGER_SECONDS, Address, alternating, first_to_connect
from gateway.outbound.errors import ConnectFailed
from gateway.outbound.origin import Origin
from gateway.outbound.pool import PoolUse
from gateway.outbound.timeouts import Timeouts
from tests.gateway.outbound.peer import answer_always, opened, peer, transport
from tests.harness.isolation import LoopbackLoop
from tests.harness.waiting import until

SIX, FOUR = socket.AF_INET6, socket.AF_INET
OWNER = Owner(30.0, lambda _: None, lambda _: None, lambda _, __: None)
WAIT = Timeouts(connect=30, first_byte=30, idle=30, total=30)


@pytest.mark.parametrize(
    ("found", "order"),
    [
        ([(FOUR, "a")], ["a"]),
        ([(SIX, "x"), (SIX, "y"), (FOUR, "a"), (FOUR, "b"), (FOUR, "c")], ["x", "a", "y", "b", "c"]),
        ([(FOUR, "a"), (FOUR, "b"), (SIX, "x")], ["a", "x", "b"]),
        ([(FOUR, "a"), (FOUR, "a"), (SIX, "x"), (FOUR, "a")], ["a", "x"]),
    ],
)
def test_the_families_take_turns(found: list[tuple[int, str]], order: list[str]) -> None:
    assert alternating((family, (host, 1)) for family, host in found) == [(host, 1) for host in order]


@pytest.fixture
def broken_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> object:
        raise socket.gaierror(-2, "no such name")

    monkeypatch.setattr("tests.harness.isolation.LoopbackLoop.getaddrinfo", fail)


class Network:
    """Addresses that refuse, that never answer, and that connect."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.under_way = 0

    async def connect(self, address: Address) -> UpstreamConnection:
        host = address[0]
        self.tried.append(host)
        self.under_way += 1
        try:
            if host.startswith("refuses"):
                raise ConnectionRefusedError(host)
            if host.startswith("silent"):
                await asyncio.Event().wait()
            return UpstreamConnection(OWNER, asyncio.get_running_loop(), max_head_bytes=1)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize(
    ("hosts", "tried"),
    [
        (["good", "other"], ["good"]),
        (["refuses", "good", "other"], ["refuses", "good"]),
        (["silent", "good", "other"], ["silent", "good"]),
        (["silent", "refuses", "good"], ["silent", "refuses", "good"]),
        (["good"], ["good"]),
    ],
)
async def test_the_first_address_that_connects_wins(hosts: list[str], tried: list[str]) -> None:
    network = Network()

    connection = await first_to_connect([(host, 1) for host in hosts], network.connect)

    assert isinstance(connection, UpstreamConnection)
    assert (network.tried, network.under_way) == (tried, 0)


async def test_a_silent_address_costs_a_moment_and_a_refusing_one_nothing() -> None:
    network = Network()
    loop = asyncio.get_running_loop()
    began = loop.time()

    await first_to_connect([("refuses", 1), ("refuses too", 1), ("silent", 1), ("good", 1)], network.connect)

    assert STAGGER_SECONDS * 0.9 < loop.time() - began < STAGGER_SECONDS * 2


async def test_when_all_fail_the_first_failure_is_told() -> None:
    with pytest.raises(ConnectionRefusedError, match="refuses one"):
        await first_to_connect([("refuses one", 1), ("refuses two", 1)], Network().connect)


async def test_a_cancelled_race_leaves_no_attempt_under_way() -> None:
    network = Network()
    race = asyncio.ensure_future(first_to_connect([("silent", 1), ("silent", 2)], network.connect))
    await until(lambda: network.under_way == 2)

    race.cancel()

    with pytest.raises(asyncio.CancelledError):
        await race
    assert network.under_way == 0


async def test_a_name_whose_first_address_refuses_is_reached() -> None:
    async with peer(answer_always, host="127.0.0.1", name="localhost") as upstream, transport() as client:
        exchange = await opened(client, upstream.origin, upstream.head(), b"", WAIT)

        assert await exchange.read(100) == b"hello"
        exchange.close()


async def test_a_name_without_an_address_is_an_error(broken_resolver: None) -> None:
    origin = Origin("http", "localhost", 80)
    async with transport() as client:
        exchange = client.send(origin, b"", b"", WAIT)

        with pytest.raises(ConnectFailed, match="no such name") as failure:
            await exchange.head()
        exchange.close()

        assert not failure.value.dispatched
        await until(lambda: client.use(origin) == PoolUse())


async def test_a_mistake_of_ours_while_connecting_is_told_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    mistake = ZeroDivisionError()

    async def fail(*_: object, **__: object) -> object:
        raise mistake

    monkeypatch.setattr("tests.harness.isolation.LoopbackLoop.create_connection", fail)
    async with transport() as client:
        exchange = client.send(Origin("http", "127.0.0.1", 80), b"", b"", WAIT)

        with pytest.raises(ConnectFailed, match="ZeroDivisionError"):
            await exchange.head()
        exchange.close()

    assert told == [mistake]


async def test_a_connection_lost_before_the_request_was_written_is_told_as_not_dispatched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = LoopbackLoop.create_connection

    async def connect_and_lose(*arguments: Any, **options: Any) -> Any:
        made, protocol = await connect(*arguments, **options)
        made.abort()
        await until(lambda: protocol.closed)
        return made, protocol

    monkeypatch.setattr(LoopbackLoop, "create_connection", connect_and_lose)
    async with peer(answer_always) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)

        with pytest.raises(ConnectFailed, match="before the request was sent"):
            await exchange.head()
        exchange.close()

        await until(lambda: client.use(upstream.origin) == PoolUse())


async def test_an_abort_after_the_connection_is_made_but_not_yet_handed_over_closes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = LoopbackLoop.create_connection

    async def connect_and_linger(*arguments: Any, **options: Any) -> Any:
        await connect(*arguments, **options)
        await asyncio.Event().wait()

    monkeypatch.setattr(LoopbackLoop, "create_connection", connect_and_linger)
    async with peer(answer_always) as upstream, transport() as client:
        exchange = client.send(upstream.origin, upstream.head(), b"", WAIT)
        await until(lambda: upstream.open == 1)

        exchange.abort()

        await until(lambda: upstream.open == 0)
        assert client.use(upstream.origin) == PoolUse()
