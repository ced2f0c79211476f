"""
How a new connection is made: every address of a name has its chance (RFC 8305, "happy eyeballs").

uvloop tries the addresses of a name one after the other, so that on a machine with broken IPv6 every connection would
time out. Here the next address is tried a moment later, or at once when one fails; the first to connect wins.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from itertools import chain, zip_longest
from typing import Any

from gateway.outbound.connection import UpstreamConnection
from gateway.outbound.origin import Origin

STAGGER_SECONDS = 0.25
Address = tuple[str, int]
Dial = Callable[[Address], Coroutine[Any, Any, UpstreamConnection]]


async def dial(
    origin: Origin,
    context: ssl.SSLContext | None,
    make: Callable[[], UpstreamConnection],
    loop: asyncio.AbstractEventLoop,
) -> UpstreamConnection:
    """
    A connection to `origin`, TLS included. The caller sets the time limit, by cancelling.

    Raises the OSError of the first address that failed, once all have. No other connection stays open.
    """
    name = origin.host if context else None
    made: list[UpstreamConnection] = []
    winner: UpstreamConnection | None = None

    async def connect(address: Address) -> UpstreamConnection:
        connection = make()
        made.append(connection)
        await loop.create_connection(lambda: connection, *address, ssl=context, server_hostname=name)
        return connection

    try:
        addresses = await _addresses(origin, loop)
        winner = await (connect(addresses[0]) if len(addresses) == 1 else first_to_connect(addresses, connect))
    finally:
        for connection in made:
            if connection is not winner:
                connection.abort()
    return winner


def alternating(addresses: Iterable[tuple[int, Address]]) -> list[Address]:
    """(Family, address) pairs in the resolver's order; families take turns, the resolver's first choice first."""
    families: dict[int, dict[Address, None]] = {}
    for family, address in addresses:
        families.setdefault(family, {})[address] = None
    turns = zip_longest(*families.values())
    return [address for address in chain.from_iterable(turns) if address is not None]


async def first_to_connect(addresses: list[Address], connect: Dial) -> UpstreamConnection:
    """
    Start an attempt whenever the last one has failed or had its moment; see `dial`.

    The attempts that lost are cancelled; one that connects all the same is left to the caller to close.
    """
    ahead = deque(addresses)
    running: list[asyncio.Task[UpstreamConnection]] = []
    failures: list[BaseException] = []
    winner: UpstreamConnection | None = None
    try:
        while winner is None and (ahead or running):
            if ahead:
                running.append(asyncio.ensure_future(connect(ahead.popleft())))
            winner = await _settle(running, failures, patience=STAGGER_SECONDS if ahead else None)
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
    if winner is None:
        raise failures[0]
    return winner


async def _addresses(origin: Origin, loop: asyncio.AbstractEventLoop) -> list[Address]:
    try:
        ipaddress.ip_address(origin.host)
    except ValueError:
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        return alternating((family, (str(address[0]), origin.port)) for family, _, _, _, address in found)
    return [(origin.host, origin.port)]


async def _settle(
    running: list[asyncio.Task[UpstreamConnection]], failures: list[BaseException], *, patience: float | None
) -> UpstreamConnection | None:
    """Wait for one attempt to end; returns its connection if it made one."""
    done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    winner = None
    for task in [task for task in running if task in done]:
        error = task.exception()
        if error is None:
            winner = task.result()
        else:
            running.remove(task)
            failures.append(error)
    return winner
