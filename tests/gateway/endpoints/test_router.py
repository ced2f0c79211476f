"""Every request has one answer and one record, whatever its endpoint does."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from gateway.dialects.client_api import ClientApi
from gateway.dialects.messages.messages_api import MessagesApi
from gateway.dialects.openai.chat_api import ChatApi
from gateway.endpoints.router import Endpoint, Router
from gateway.errors import ClientGone, InvalidRequest, RateLimited, UpstreamRefused
from gateway.inbound.cors import Cors
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestOutcome, RequestRecord
from tests.gateway.inbound.listening import Listening, listening
from tests.gateway.wire import Wire, wire
from tests.harness.waiting import until

TEXT = [(b"content-type", b"text/plain")]
END = b"0\r\n\r\n"
HOST = "host: gateway\r\n"


async def fine(client: Exchange, record: RequestRecord) -> None:
    await client.answer(200, TEXT, b"fine")


@dataclass
class Routed:
    server: Listening
    router: Router
    records: list[RequestRecord]
    seen_by_another: list[RequestRecord]

    async def record(self) -> RequestRecord:
        """The one record of the one request. Every observer has it, once."""
        await until(lambda: self.records)
        assert self.records == self.seen_by_another
        [record] = self.records
        assert self.router.open_requests == 0
        return record


@asynccontextmanager
async def routed(
    endpoint: Endpoint = fine,
    *,
    max_open_requests: int = 100,
    cors: Cors | None = None,
    apis: Mapping[str, ClientApi] = MappingProxyType({}),
) -> AsyncIterator[tuple[Routed, Wire]]:
    records: list[RequestRecord] = []
    others: list[RequestRecord] = []
    router = Router(
        {"/ask": {"POST": endpoint}, "/list": {"GET": endpoint}},
        {"/list/": {"GET": endpoint}},
        (records.append, others.append),
        default_api=ChatApi(),
        apis=apis,
        max_open_requests=max_open_requests,
        cors=cors,
    )
    async with listening(router) as server, wire(server.port) as client:
        yield Routed(server, router, records, others), client


def request(method: str, path: str, more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\n{HOST}{more}content-length: 0\r\n\r\n".encode()


async def test_an_answer_carries_the_id_of_its_record() -> None:
    async with routed() as (gateway, client):
        await client.send(request("POST", "/ask?x=1"))
        head = await client.head()

        record = await gateway.record()
        assert head.headers["x-request-id"] == str(record.request_id)
        assert (record.method, record.path, record.status, record.code) == ("POST", "/ask", 200, "")
        assert (record.outcome, record.answered) == (RequestOutcome.OK, True)
        assert 0 < record.first_byte_seconds < 30


@pytest.mark.parametrize("path", ["/list", "/list/a/b"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_endpoint_is_found_by_its_path_or_by_what_lies_above(path: str, method: str) -> None:
    async with routed() as (_gateway, client):
        await client.send(request(method, path))

        assert (await client.head()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/ask/more", 404, "not_found"),
        ("POST", "/", 404, "not_found"),
        ("GET", "/ask", 405, "method_not_allowed"),
        ("DELETE", "/list/a", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_served_is_told_and_recorded(method: str, path: str, status: int, code: str) -> None:
    async with routed() as (gateway, client):
        await client.send(request(method, path))
        head, body = await client.answer()

        record = await gateway.record()
        assert (head.status, body["error"]["code"], head.headers.get("allow")) == (
            status, code, {404: None, 405: "POST" if path == "/ask" else "GET"}[status],
        )  # fmt: skip
        assert (record.status, record.code, record.refusal, record.outcome) == (status, code, code, "error")


async def test_an_error_is_answered_in_its_own_words() -> None:
    async def refuse(client: Exchange, record: RequestRecord) -> None:
        raise RateLimited("60 requests per minute.", retry_after=1.5)

    async with routed(refuse) as (gateway, client):
        await client.send(request("POST", "/ask"))
        head, body = await client.answer()

        assert (head.status, head.headers["retry-after-ms"], head.headers["retry-after"]) == (429, "1500", "2")
        assert body["error"]["message"] == "60 requests per minute."
        assert (await gateway.record()).code == "rate_limit_exceeded"


async def test_a_path_of_another_api_has_its_errors_in_the_words_of_that_one() -> None:
    async def refuse(client: Exchange, record: RequestRecord) -> None:
        raise RateLimited("60 requests per minute.", retry_after=1.5)

    async with routed(refuse, apis={"/ask": MessagesApi()}) as (gateway, client):
        await client.send(request("POST", "/ask"))
        head, body = await client.answer()

        assert (head.status, body["type"], body["error"]["type"]) == (429, "error", "rate_limit_error")
        assert head.headers["request-id"] == body["request_id"] == str((await gateway.record()).request_id)


async def test_what_a_provider_calls_its_errors_is_told_and_not_used_as_a_label() -> None:
    async def refuse(client: Exchange, record: RequestRecord) -> None:
        raise UpstreamRefused(422, "No.", type="invalid_request_error", code="anything at all")

    async with routed(refuse) as (gateway, client):
        await client.send(request("POST", "/ask"))
        await client.answer()

        record = await gateway.record()
        assert (record.code, record.refusal) == ("anything at all", "upstream_refused")


async def test_an_error_without_a_code_is_recorded_by_its_type() -> None:
    async def refuse(client: Exchange, record: RequestRecord) -> None:
        raise InvalidRequest("No.", param="n")

    async with routed(refuse) as (gateway, client):
        await client.send(request("POST", "/ask"))
        _, body = await client.answer()

        assert (body["error"]["code"], (await gateway.record()).code) == (None, "invalid_request_error")


async def test_behind_a_head_that_went_out_early_the_error_is_the_streams_only_event() -> None:
    """The client has been told 200; the record has what it would have been told."""

    async def fail_late(client: Exchange, record: RequestRecord) -> None:
        client.start(200, TEXT)
        raise RateLimited("Later.", retry_after=1.0)

    async with routed(fail_late) as (gateway, client):
        await client.send(request("POST", "/ask"))
        head = await client.head()
        await client.read_past(END)

        record = await gateway.record()
        event = client.received.split(b"\r\n")[1]
        assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "rate_limit_exceeded"
        assert (head.status, record.status, record.answered, record.outcome) == (200, 429, True, "error")


async def test_an_error_behind_a_finished_answer_changes_nothing_for_the_client() -> None:
    async def fail_afterwards(client: Exchange, record: RequestRecord) -> None:
        client.start(200, TEXT)
        await client.send(b"all", more=False)
        raise RateLimited("Too late.", retry_after=1.0)

    async with routed(fail_afterwards) as (_gateway, client):
        await client.send(request("POST", "/ask") + request("GET", "/nowhere"))
        await client.head()
        await client.read_past(END)
        following = await client.head()

        assert (client.received, following.status) == (b"3\r\nall\r\n" + END, 404)


async def test_a_bug_is_answered_with_the_requests_id_and_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async def break_down(client: Exchange, record: RequestRecord) -> None:
        raise KeyError("secret")

    async with routed(break_down) as (gateway, client):
        await client.send(request("POST", "/ask"))
        head, body = await client.answer()

        record = await gateway.record()
        assert (head.status, body["error"]["code"], record.code) == (500, "internal_error", "internal_error")
        assert str(record.request_id) in body["error"]["message"]
        assert "secret" not in json.dumps(body)
        assert "KeyError" in caplog.text


async def test_a_client_that_has_gone_is_recorded_as_gone() -> None:
    gone = asyncio.Event()

    async def notice(client: Exchange, record: RequestRecord) -> None:
        client.on_hang_up(gone.set)
        await gone.wait()
        raise ClientGone

    async with routed(notice) as (gateway, client):
        await client.send(request("POST", "/ask"))
        await until(lambda: gateway.router.open_requests)
        await client.leave()

        record = await gateway.record()
        assert (record.outcome, record.status, record.answered) == (RequestOutcome.CLIENT_GONE, 499, False)


async def test_a_request_that_a_stop_cuts_is_told_so_if_nothing_was_said_yet() -> None:
    async def wait(client: Exchange, record: RequestRecord) -> None:
        await asyncio.Event().wait()

    async with routed(wait) as (gateway, client):
        await client.send(request("POST", "/ask"))
        await until(lambda: gateway.router.open_requests)
        await gateway.server.stop()
        head, body = await client.answer()

        record = await gateway.record()
        assert (head.status, body["error"]["code"]) == (503, "overloaded")
        assert (record.outcome, record.status) == (RequestOutcome.CUT, 503)


async def test_beyond_the_bound_of_open_requests_the_next_is_told_to_come_again() -> None:
    go = asyncio.Event()

    async def wait(client: Exchange, record: RequestRecord) -> None:
        await go.wait()
        await client.answer(200, TEXT, b"done")

    async with routed(wait, max_open_requests=1) as (gateway, first):
        await first.send(request("POST", "/ask"))
        await until(lambda: gateway.router.open_requests)
        async with wire(gateway.server.port) as second:
            await second.send(request("POST", "/ask"))
            refused = await second.head()
            go.set()
            served = await first.head()
            await second.exactly(int(refused.headers["content-length"]))
            await second.send(request("POST", "/ask"))
            afterwards = await second.head()

    assert (refused.status, served.status, afterwards.status) == (503, 200, 200)


async def test_a_page_of_an_allowed_origin_may_ask_and_may_read_errors() -> None:
    origin = "origin: https://app.example.com\r\n"
    async with routed(cors=Cors({"https://app.example.com"})) as (_gateway, client):
        await client.send(request("OPTIONS", "/ask", origin + "access-control-request-method: POST\r\n"))
        preflight = await client.head()
        await client.send(request("GET", "/nowhere", origin))
        error = await client.head()

    assert (preflight.status, "POST" in preflight.headers["access-control-allow-methods"]) == (200, True)
    assert (error.status, error.headers["access-control-allow-origin"]) == (404, "https://app.example.com")


async def test_without_pages_a_preflight_is_no_request() -> None:
    async with routed() as (_gateway, client):
        await client.send(request("OPTIONS", "/ask", "origin: a\r\naccess-control-request-method: POST\r\n"))

        assert (await client.head()).status == 405
