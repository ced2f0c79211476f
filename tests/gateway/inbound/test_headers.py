"""What repeated fields mean, and a request without its offer to change the protocol."""

import httptools
import pytest

from gateway.inbound.headers import head_without_upgrade, joined


@pytest.mark.parametrize(
    ("name", "first", "second", "together"),
    [
        (b"accept", b"a", b"b", b"a, b"),
        (b"anthropic-beta", b"a", b"a", b"a, a"),
        (b"cookie", b"a=1", b"b=2", b"a=1; b=2"),
        (b"authorization", b"Bearer a", b"Bearer a", b"Bearer a"),
        (b"authorization", b"Bearer a", b"Bearer b", None),
        (b"x-api-key", b"a", b"b", None),
        (b"content-length", b"1", b"2", None),
        (b"content-length", b"1", b"01", None),
        (b"content-type", b"a/b", b"c/d", None),
        (b"origin", b"https://a", b"https://b", None),
        (b"host", b"a", b"a", None),
    ],
)
def test_a_field_that_came_twice_has_one_value_or_none(
    name: bytes, first: bytes, second: bytes, together: bytes | None
) -> None:
    assert joined(name, first, second) == together


class Head:
    """What llhttp reads of a head."""

    def __init__(self, head: bytes) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.target = b""
        self.complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(head)
        self.method, self.version, self.keep_alive = (
            parser.get_method(),
            parser.get_http_version(),
            parser.should_keep_alive(),
        )

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name] = value

    def on_headers_complete(self) -> None:
        self.complete = True


@pytest.mark.parametrize(
    ("connection", "kept", "keep_alive"),
    [
        (b"Upgrade, HTTP2-Settings", None, True),
        (b"upgrade", None, True),
        (b"close, Upgrade", b"close", False),
        (b"Upgrade,keep-alive , x-trace", b"keep-alive, x-trace", True),
        (b" , upgrade", None, True),
    ],
)
def test_an_offer_to_change_the_protocol_is_taken_out_and_all_else_is_kept(
    connection: bytes, kept: bytes | None, keep_alive: bool
) -> None:
    fields = {
        b"host": b"x",
        b"connection": connection,
        b"upgrade": b"h2c",
        b"http2-settings": b"AAMAAABkAAQAAP__",
        b"content-length": b"7",
    }

    head = Head(head_without_upgrade(b"POST", b"/v1/models?a=%20", b"1.1", fields))

    assert (head.method, head.target, head.version) == (b"POST", b"/v1/models?a=%20", "1.1")
    assert head.fields == {b"host": b"x", b"content-length": b"7"} | ({b"connection": kept} if kept else {})
    assert (head.complete, head.keep_alive) == (True, keep_alive)
