"""A port that can't be opened is refused with the one setting that helps (B14)."""

import socket

import pytest

from core.process.listener import CannotListen, open_listener


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_both_families_of_addresses_are_listened_on(host: str, family: socket.AddressFamily) -> None:
    with open_listener(host, 0, setting="GATEWAY") as listener:
        assert listener.family == family
        with socket.create_connection(listener.getsockname()[:2]):
            pass


@pytest.mark.parametrize("host", ["10.255.255.1", "::g", "[::1]"])
def test_an_address_of_another_machine_is_blamed_on_the_host(host: str) -> None:
    with pytest.raises(CannotListen, match=r"set GATEWAY_ADMIN_HOST|Set GATEWAY_ADMIN_HOST") as caught:
        open_listener(host, 0, setting="GATEWAY_ADMIN")

    assert "PORT" not in str(caught.value)
    assert host in str(caught.value)


def test_a_port_in_use_is_blamed_on_the_port() -> None:
    with open_listener("127.0.0.1", 0, setting="X") as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotListen, match="Address already in use") as caught:
            open_listener("127.0.0.1", port, setting="METERING_ADMIN")

    assert "set METERING_ADMIN_PORT." in str(caught.value)
    assert "HOST" not in str(caught.value)
