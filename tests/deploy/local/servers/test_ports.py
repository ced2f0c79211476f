import socket

import pytest

from deploy.local.errors import PortInUse
from deploy.local.servers.ports import DEFAULT_PORTS, choose_ports, free_port, is_taken


@pytest.fixture
def remembered() -> dict[str, int]:
    return {name: free_port() for name in DEFAULT_PORTS}


def test_the_ports_of_the_last_run_are_kept(remembered: dict[str, int]) -> None:
    assert choose_ports({}, remembered) == remembered


def test_a_wanted_port_wins(remembered: dict[str, int]) -> None:
    port = free_port()

    assert choose_ports({"gateway": port}, remembered)["gateway"] == port


def test_a_taken_port_is_replaced_unless_it_was_asked_for(remembered: dict[str, int]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        chosen = choose_ports({}, remembered | {"postgres": taken})
        with pytest.raises(PortInUse, match=f"Port {taken} .*--admin-port {taken + 1}"):
            choose_ports({"gateway-admin": taken}, remembered)

    assert chosen["postgres"] != taken


def test_no_two_services_get_the_same_port(remembered: dict[str, int]) -> None:
    chosen = choose_ports({}, dict.fromkeys(remembered, remembered["gateway"]))

    assert len(set(chosen.values())) == len(DEFAULT_PORTS)


def test_a_free_port_is_not_taken() -> None:
    assert not is_taken(free_port())
