"""What keeps a test on this machine and away from its developer's settings."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, MutableMapping
from typing import Any

import uvloop

SETTINGS_PREFIXES = (
    "ANTHROPIC_",
    "API_KEY_",
    "DATABASE_",
    "GATEWAY_",
    "METERING_",
    "OPENAI_",
    "PG",
    "PROMETHEUS_",
    "REDIS_",
    "SIMULATOR",
)
SETTINGS_SUFFIXES = ("_API_KEY", "_API_KEY_FILE", "_PROXY", "_SECRET", "_TOKEN")


class ConnectionRefusedByTests(RuntimeError):
    """A test reached for a host that is not this machine."""


def scrub(environment: MutableMapping[str, str]) -> None:
    for name in list(environment):
        upper = name.upper()
        if upper.startswith(SETTINGS_PREFIXES) or upper.endswith(SETTINGS_SUFFIXES):
            del environment[name]


def require_loopback(host: object) -> None:
    """Raises ConnectionRefusedByTests. None and "" mean this machine to the functions that take a host."""
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name == "localhost":
        return
    try:
        if ipaddress.ip_address(str(name)).is_loopback or ipaddress.ip_address(str(name)).is_unspecified:
            return
    except ValueError:
        pass
    raise ConnectionRefusedByTests(f"{name} is not this machine; tests use simulators")


class LoopbackLoop(uvloop.Loop):
    """uvloop connects below Python's sockets, so it needs a guard of its own."""

    async def create_connection(self, protocol_factory: Any, host: Any = None, *args: Any, **options: Any) -> Any:
        require_loopback(host)
        return await super().create_connection(protocol_factory, host, *args, **options)

    async def getaddrinfo(self, host: Any, *args: Any, **options: Any) -> Any:
        require_loopback(host)
        return await super().getaddrinfo(host, *args, **options)

    async def sock_connect(self, sock: Any, address: Any) -> Any:
        _require_loopback_address(sock, address)
        return await super().sock_connect(sock, address)


def run_on_fresh_loop(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    with asyncio.Runner(debug=False, loop_factory=LoopbackLoop) as runner:
        runner.run(function(**arguments))


def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    """`socket.socket.connect` or `connect_ex`, for this machine only."""

    def connect_here(sock: socket.socket, address: Any) -> Any:
        _require_loopback_address(sock, address)
        return connect(sock, address)

    return connect_here


def _require_loopback_address(sock: socket.socket, address: Any) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        require_loopback(address[0])
