import pytest

from core.models.upstream_rules import OURS
from gateway.outbound.head import header_line, request_head

CONTROL = [bytes([byte]) for byte in (*range(0x20), 0x7F) if byte != 0x09]


def test_a_head_is_complete_but_for_its_length_and_the_blank_line() -> None:
    head = request_head("POST", "/v1/x?a=b", "host:81", [(b"Authorization", b"Bearer k"), (b"x-tab", b"a\tb \xff")])

    assert head == (
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: host:81\r\naccept-encoding: identity\r\n"
        b"authorization: Bearer k\r\nx-tab: a\tb \xff\r\n"
    )


@pytest.mark.parametrize("byte", CONTROL)
@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_no_control_byte_enters_a_value(byte: bytes, where: str) -> None:
    value = {"start": byte + b"secret", "middle": b"sec" + byte + b"ret", "end": b"secret" + byte}[where]

    with pytest.raises(ValueError, match="authorization") as refusal:
        header_line(b"authorization", value)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("byte", [*CONTROL, b"\t", b" ", b":", b"\xff", b"("])
def test_a_name_is_a_token(byte: bytes) -> None:
    with pytest.raises(ValueError):
        request_head("GET", "/", "host", [(b"x" + byte + b"y", b"1")])


def test_a_name_is_not_empty() -> None:
    with pytest.raises(ValueError):
        header_line(b"", b"1")


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_frames_a_message_is_set_by_the_transport_alone(name: bytes) -> None:
    with pytest.raises(ValueError, match=name.decode()):
        header_line(name.title(), b"1")


@pytest.mark.parametrize(
    ("method", "path", "host"),
    [
        ("", "/", "host"),
        ("GE T", "/", "host"),
        ("GET\r\n", "/", "host"),
        ("GET", "", "host"),
        ("GET", "x", "host"),
        ("GET", "http://host/", "host"),
        ("GET", "/a b", "host"),
        ("GET", "/a\r\nx: y", "host"),
        ("GET", "/a\0", "host"),
        ("GET", "/a#b", "host"),
        ("GET", "/ä", "host"),
        ("GET", "/", ""),
        ("GET", "/", "ho st"),
        ("GET", "/", "host\nx: y"),
    ],
)
def test_nothing_in_the_request_line_or_host_can_split_a_request(method: str, path: str, host: str) -> None:
    with pytest.raises(ValueError):
        request_head(method, path, host, [])
