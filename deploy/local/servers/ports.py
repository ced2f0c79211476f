"""Ports of this machine's loopback interface."""

import errno
import socket
from collections.abc import Mapping

from deploy.local.errors import PortInUse

LOOPBACK = "127.0.0.1"

DEFAULT_PORTS = {
    "gateway": 8080,
    "gateway-admin": 9090,
    "metering-admin": 9091,
    "simulators": 9092,
    "postgres": 54320,
    "valkey": 63790,
}


def free_port() -> int:
    """A port that nobody listens on now. Another process may take it before we do: callers try again."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections of a former run that are still closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def choose_ports(wanted: Mapping[str, int], remembered: Mapping[str, int]) -> dict[str, int]:
    """
    A port for each name of DEFAULT_PORTS: the wanted one, else the one of the last run, else the default.

    A wanted port that is taken is an error; for the rest another one is found, and remembered by the caller.
    """
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        port = wanted.get(name) or remembered.get(name) or default
        if is_taken(port) or port in chosen.values():
            if name in wanted:
                raise PortInUse(_advice(name, port))
            port = _another(chosen)
        chosen[name] = port
    return chosen


def require_free(name: str, port: int) -> None:
    """Raises PortInUse. Whoever took a port that was chosen as free would answer in the place of our process."""
    if is_taken(port):
        raise PortInUse(
            f"Port {port} of this machine, chosen for {name}, was taken by another program in the meantime. "
            "Start again: another port is found then."
        )


def _another(chosen: Mapping[str, int]) -> int:
    while (port := free_port()) in chosen.values():
        pass
    return port


def _advice(name: str, port: int) -> str:
    option = {"gateway": "--port", "gateway-admin": "--admin-port"}.get(name, "another port")
    return (
        f"Port {port} of this machine, wanted for the {name}, is in use by another program. "
        f"Choose another ({option} {port + 1}) or stop that program; `ss -ltnp 'sport = :{port}'` (Linux) or "
        f"`lsof -iTCP:{port} -sTCP:LISTEN` shows which it is."
    )
