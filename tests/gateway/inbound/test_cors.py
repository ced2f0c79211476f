"""What browsers may do with the API. Guards against C19, found in this product."""

from collections.abc import Iterator

import pytest

from core.process.settings import SettingsError
from gateway.settings import GatewaySettings
from tests.gateway.wire import Head, chat, request, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway

PAGE, OTHER = "https://app.example.com", "https://evil.example"
ALLOW = "access-control-allow-origin"
PREFLIGHT = (
    "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: x\r\norigin: {}\r\naccess-control-request-method: POST\r\n"
    "access-control-request-headers: authorization,content-type,x-stainless-os\r\n\r\n"
)


@pytest.fixture(scope="module")
def open_to_a_page(shared: Installation) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway({"GATEWAY_CORS_ORIGINS": f"{PAGE}, http://localhost:3000"})
    yield gateway
    assert gateway.stop() == 0


async def head_of(gateway: RunningGateway, data: bytes) -> Head:
    async with wire(gateway.port) as client:
        await client.send(data)
        return await client.head()


def from_page(data: bytes, origin: str = PAGE) -> bytes:
    return data.replace(b"host: gateway", b"host: gateway\r\norigin: " + origin.encode())


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
async def test_a_browser_that_asks_for_a_named_origin_may_go_on(open_to_a_page: RunningGateway, origin: str) -> None:
    head = await head_of(open_to_a_page, PREFLIGHT.format(origin).encode())

    assert head.status == 200
    assert head.headers[ALLOW] == origin
    assert head.headers["vary"] == "Origin"
    assert "POST" in head.headers["access-control-allow-methods"]
    assert head.headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-os"
    assert head.headers["content-length"] == "0"


async def test_every_answer_to_a_page_carries_what_its_browser_needs(
    open_to_a_page: RunningGateway, customer: Customer
) -> None:
    """Errors too: without it the page sees a network failure, and not the reason."""
    asked = {
        "whole": (chat(customer, "Hello"), 200),
        "streamed": (chat(customer, "Hello", stream=True), 200),
        "no key": (request(None, b"{}"), 401),
        "no JSON": (request(customer, b"{"), 400),
        "no route": (request(customer, b"{}", path="/nowhere"), 404),
        "no method": (request(customer, b"{}", path="/v1/models"), 405),
    }
    for name, (data, status) in asked.items():
        head = await head_of(open_to_a_page, from_page(data))

        assert (name, head.status, head.headers.get(ALLOW), head.headers["vary"]) == (name, status, PAGE, "Origin")
        assert "x-request-id" in head.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", [OTHER, PAGE + ".evil.example", "http://app.example.com", "null", "", "*"])
async def test_another_origin_is_allowed_nothing(
    open_to_a_page: RunningGateway, customer: Customer, origin: str
) -> None:
    answers = [
        await head_of(open_to_a_page, from_page(chat(customer, "Hello"), origin)),
        await head_of(open_to_a_page, PREFLIGHT.format(origin).encode()),
    ]

    assert [ALLOW in head.headers for head in answers] == [False, False]
    assert [head.headers["vary"] for head in answers] == ["Origin", "Origin"]


async def test_without_the_setting_nothing_is_said_to_browsers(gateway: RunningGateway, customer: Customer) -> None:
    asked = await head_of(gateway, PREFLIGHT.format(PAGE).encode())
    answered = await head_of(gateway, from_page(chat(customer, "Hello")))

    assert (asked.status, answered.status) == (405, 200)
    assert {ALLOW, "vary"}.isdisjoint({*asked.headers, *answered.headers})


async def test_a_gateway_open_to_all_says_so_and_needs_no_vary(shared: Installation, customer: Customer) -> None:
    gateway = shared.start_gateway({"GATEWAY_CORS_ORIGINS": "*"})

    head = await head_of(gateway, from_page(chat(customer, "Hello"), OTHER))

    assert (head.headers[ALLOW], "vary" in head.headers) == ("*", False)
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    "value",
    [
        *("app.example.com", "https://app.example.com/", "https://App.example.com", "https://u:p@x", "ftp://x", "a b"),
        *("https://", "https://a b", "https://*.example.com", "https://bücher.example", "https://a..b", "https://[::1"),
        *("https://app.example.com:443", "http://localhost:80", "https://x:abc", "https://x:0", "https://x:99999"),
    ],
)
def test_what_no_browser_would_send_is_refused_at_the_start(shared: Installation, value: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_CORS_ORIGINS is not valid"):
        GatewaySettings.load({**shared.settings, "GATEWAY_CORS_ORIGINS": value})


@pytest.mark.parametrize(
    "value",
    ["*", "http://localhost:443", "https://app.example.com:8443", "http://[::1]:3000", "https://xn--bcher-kva.example"],
)
def test_what_browsers_send_is_accepted(shared: Installation, value: str) -> None:
    settings = GatewaySettings.load({**shared.settings, "GATEWAY_CORS_ORIGINS": value})

    assert settings.gateway_cors_origins == {value}
