"""
What no client should send, over raw sockets: a clear error object each, the process alive, its memory where it was.

Every test ends with an ordinary request on the same gateway.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from core.accounts.api_key import ApiKey
from tests.gateway.wire import CONTENT, Head, Wire, chat, request, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere

MEBIBYTE = 1024 * 1024
MESSAGES = [{"role": "user", "content": "Hello"}]
FINE = {"model": "gpt-4o-mini", "messages": MESSAGES}
PATH = "/v1/chat/completions"
ERROR_FIELDS = {"message", "type", "param", "code"}


@pytest.fixture(scope="module")
def strict(shared: Installation, upstream: SimulatedUpstream) -> Iterator[RunningGateway]:
    """A gateway with small limits, so that tests of patience are short."""
    gateway = shared.start_gateway({"GATEWAY_BODY_SECONDS": "0.5", "GATEWAY_MAX_BODY_BYTES": str(2 * MEBIBYTE)})
    yield gateway
    assert gateway.stop() == 0
    upstream.clear()  # What only a provider can judge is passed on, and refused there.


@pytest.fixture(scope="module")
def anybody(shared: Installation) -> Customer:
    return shared.customer()


@pytest.fixture(autouse=True)
def _the_gateway_serves_on(strict: RunningGateway, shared: Installation, anybody: Customer) -> Iterator[None]:
    yield
    head, _ = asyncio.run(exchange(strict, chat(anybody, "Still there?")))
    assert head.status == 200
    assert b'"traceback"' not in strict.log.read_bytes()
    shared.assert_nothing_held()


async def exchange(gateway: RunningGateway, data: bytes) -> tuple[Head, Any]:
    async with wire(gateway.port) as client:
        await client.send(data)
        return await client.answer()


def refused(head: Head, body: Any, status: int, code: str | None) -> None:
    assert head.status == status
    assert head.headers["content-type"] == "application/json"
    assert set(body["error"]) == ERROR_FIELDS
    assert body["error"]["code"] == code
    assert body["error"]["message"]


NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "half": b'{"model": "gpt-4o-mini", "messa',
    "a list": b"[]",
    "null": b"null",
    "a number": b"17",
    "not a number": b'{"model": NaN}',
    "infinity": b'{"model": Infinity}',
    "two documents": b"{}{}",
    "a trailing comma": b'{"model": "gpt-4o-mini",}',
    "invalid UTF-8": b'{"model": "\xff\xfe"}',
    "a lone surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
    "UTF-16": json.dumps(FINE).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a raw control character": b'{"model": "a\x01b"}',
    "NUL bytes": b"\0" * 100,
    "100,000 levels of lists": b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 levels that never close": b"[" * 100_000,
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_is_no_json_object_is_refused(strict: RunningGateway, anybody: Customer, body: bytes) -> None:
    head, answer = await exchange(strict, request(anybody, body))

    refused(head, answer, 400, "invalid_json")
    assert answer["error"]["type"] == "invalid_request_error"


WRONG = {
    "no messages": ({"messages": None}, "messages"),
    "messages no list": ({"messages": "Hello"}, "messages"),
    "no message": ({"messages": []}, "messages"),
    "a message that is text": ({"messages": ["Hello"]}, "messages[0]"),
    "a message that is null": ({"messages": [None]}, "messages[0]"),
    "a message without role": ({"messages": [{"content": "x"}]}, "messages[0]"),
    "a role that is a number": ({"messages": [{"role": 1}]}, "messages[0]"),
    "the second message": ({"messages": [*MESSAGES, 3]}, "messages[1]"),
    "no model": ({"model": None}, "model"),
    "model no text": ({"model": 4}, "model"),
    "model a list": ({"model": ["gpt-4o-mini"]}, "model"),
    "model empty": ({"model": ""}, "model"),
    "model endless": ({"model": "m" * 1000}, "model"),
    "stream a text": ({"stream": "true"}, "stream"),
    "stream a number": ({"stream": 1}, "stream"),
    "stream options without stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "stream options a list": ({"stream": True, "stream_options": []}, "stream_options"),
    "include usage a text": (
        {"stream": True, "stream_options": {"include_usage": "yes"}},
        "stream_options.include_usage",
    ),
    "max tokens zero": ({"max_tokens": 0}, "max_tokens"),
    "max tokens negative": ({"max_tokens": -1}, "max_tokens"),
    "max tokens a fraction": ({"max_tokens": 1.5}, "max_tokens"),
    "max tokens true": ({"max_tokens": True}, "max_tokens"),
    "max tokens a text": ({"max_completion_tokens": "10"}, "max_completion_tokens"),
    "n zero": ({"n": 0}, "n"),
    "n enormous": ({"n": 10**9}, "n"),
    "n a list": ({"n": [1]}, "n"),
}


@pytest.mark.parametrize(("change", "param"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_type_is_refused_by_name(
    strict: RunningGateway, anybody: Customer, change: dict[str, Any], param: str
) -> None:
    head, answer = await exchange(strict, request(anybody, json.dumps({**FINE, **change}).encode()))

    refused(head, answer, 400, None)
    assert answer["error"]["param"] == param


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "18446744073709551616", "1" + "0" * 100_000])
@pytest.mark.parametrize("field", ["max_tokens", "n", "temperature", "unknown"])
async def test_a_number_beyond_all_bounds_is_answered_like_any_other_mistake(
    strict: RunningGateway, anybody: Customer, field: str, number: str
) -> None:
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}],"%b":%b}'

    head, answer = await exchange(strict, request(anybody, body % (field.encode(), number.encode())))

    assert head.status == 400
    assert set(answer["error"]) == ERROR_FIELDS


async def test_of_a_model_named_twice_the_one_that_is_priced_is_the_one_that_is_asked(
    strict: RunningGateway, shared: Installation
) -> None:
    """A cheap name in front of a dear one, or the other way round, must not pass the one and pay the other."""
    customer = shared.customer()
    body = b'{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"Hi"}],"model":"gpt-4o-mini"}'

    head, answer = await exchange(strict, request(customer, body))

    [booked] = shared.wait_events(customer, 1)
    assert head.headers["x-poindexter-target"] == f"{booked.event.provider}/{answer['model']}"
    assert booked.event.model == answer["model"]


async def test_an_announced_body_over_the_limit_is_refused_before_it_is_read(
    strict: RunningGateway, anybody: Customer
) -> None:
    """The head alone is sent: the answer must not wait for the rest."""
    head_only = request(anybody, b"", headers="").replace(b"content-length: 0", b"content-length: 100000000")

    head, answer = await exchange(strict, head_only)

    refused(head, answer, 413, "request_too_large")


async def test_a_chunked_body_over_the_limit_is_refused_on_the_way(strict: RunningGateway, anybody: Customer) -> None:
    async with wire(strict.port) as client:
        await client.send(chunked_head(anybody))
        sending = asyncio.create_task(send_chunks(client, 40, MEBIBYTE // 4))
        head, answer = await client.answer()
        await stop(sending)

    refused(head, answer, 413, "request_too_large")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_bodies_of_100_megabytes_leave_no_trace_in_memory(
    strict: RunningGateway, anybody: Customer, announced: bool
) -> None:
    before = strict.resident_bytes()
    maximum = before
    async with many_wires(strict, 4) as clients:
        sending = []
        for client in clients:
            head = b"content-length: %d" % (100 * MEBIBYTE) if announced else b"transfer-encoding: chunked"
            await client.send(request(anybody, b"").replace(b"content-length: 0", head))
            sending.append(asyncio.create_task(send_chunks(client, 100, MEBIBYTE, framed=not announced)))
        answers = [await client.answer() for client in clients]
        for task in sending:
            while not task.done():
                maximum = max(maximum, strict.resident_bytes())
                await asyncio.wait([task], timeout=0.05)
            await stop(task)

    assert [head.status for head, _ in answers] == [413] * 4
    assert maximum - before < 24 * MEBIBYTE


async def test_a_large_body_within_the_limit_is_served(strict: RunningGateway, anybody: Customer) -> None:
    head, _ = await exchange(strict, chat(anybody, "[[sim words=3]] " + "x" * MEBIBYTE, model="gpt-5-mini"))

    assert head.status == 200


async def test_a_body_that_never_comes_is_a_time_out(strict: RunningGateway, anybody: Customer) -> None:
    async with wire(strict.port) as client:
        await client.send(chat(anybody, "Hello")[:-10])
        head, answer = await client.answer()

    refused(head, answer, 408, "request_timeout")


async def test_a_body_that_drips_is_a_time_out(strict: RunningGateway, anybody: Customer) -> None:
    whole = chat(anybody, "Hello " * 100)
    async with wire(strict.port) as client:
        await client.send(whole[:-600])
        dripping = asyncio.create_task(drip(client, whole[-600:]))
        head, answer = await client.answer()
        await stop(dripping)

    refused(head, answer, 408, "request_timeout")


async def test_a_client_that_stops_in_the_middle_of_its_body_leaves_nothing(
    strict: RunningGateway, anybody: Customer
) -> None:
    async with many_wires(strict, 50) as clients:
        for client in clients:
            await client.send(chat(anybody, "Hello")[:-10])
            await client.leave()


BROKEN_HEADS = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a wrong version": b"POST /v1/chat/completions HTTP/9.9\r\n\r\n",
    "a blank in the version": b"POST /v1/chat/completions HTTP/1. 1\r\n\r\n",
    "no path": b"POST  HTTP/1.1\r\nhost: x\r\n\r\n",
    "an unknown method": b"BREW /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n",
    "a header without colon": b"POST / HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n",
    "a blank before the colon": b"POST / HTTP/1.1\r\nhost : x\r\n\r\n",
    "a control character in a name": b"POST / HTTP/1.1\r\nho\x01st: x\r\n\r\n",
    "a NUL in a value": b"POST / HTTP/1.1\r\nhost: a\0b\r\n\r\n",
    "a NUL in the path": b"GET /v1/mo\0dels HTTP/1.1\r\nhost: x\r\n\r\n",
    "negative length": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    "length a text": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: five\r\n\r\n",
    "length with a sign": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "length beyond 64 bits": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    "length and chunks": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
    "two keys": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
    "two keys of the other kind": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: a\r\nX-API-Key: b\r\n\r\n",
    "a tunnel": b"CONNECT gateway:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "an unknown encoding": b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, cow\r\n\r\n",
}


@pytest.mark.parametrize("head", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
async def test_what_is_no_http_is_refused_and_its_connection_closed(strict: RunningGateway, head: bytes) -> None:
    async with wire(strict.port) as client:
        await client.send(head)
        answer, body = await client.answer()
        rest = await client.read_to_end()

    refused(answer, body, 400, "invalid_http")
    assert answer.headers["connection"] == "close"
    assert rest == b""


BROKEN_CHUNKS = {
    "size a word": b"xyz\r\nhello\r\n",
    "size negative": b"-5\r\nhello\r\n",
    "size beyond 64 bits": b"fffffffffffffffff\r\nhello\r\n",
    "longer than it says": b"2\r\nhello\r\n0\r\n\r\n",
    "no end of line": b"5\r\nhelloXX",
}


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
async def test_broken_chunks_are_refused(strict: RunningGateway, anybody: Customer, chunks: bytes) -> None:
    async with wire(strict.port) as client:
        await client.send(chunked_head(anybody) + chunks)
        received = await client.read_to_end()

    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    "headers",
    [
        "x-flood: 1\r\n" * 50_000,
        f"x-giant: {'a' * 1_000_000}\r\n",
        f"{'n' * 1_000_000}: giant\r\n",
        "".join(f"x-{number}: {number}\r\n" for number in range(20_000)),
    ],
    ids=["a flood", "a giant value", "a giant name", "a flood of names"],
)
async def test_a_head_beyond_the_limit_is_refused(strict: RunningGateway, anybody: Customer, headers: str) -> None:
    before = strict.resident_bytes()
    async with wire(strict.port) as client:
        sending = asyncio.create_task(client.send(request(anybody, b"{}", headers=headers)))
        head, answer = await client.answer()
        await stop(sending)

    refused(head, answer, 431, "request_header_fields_too_large")
    assert strict.resident_bytes() - before < 8 * MEBIBYTE


async def test_a_giant_path_is_refused(strict: RunningGateway) -> None:
    async with wire(strict.port) as client:
        sending = asyncio.create_task(client.send(b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"))
        head, answer = await client.answer()
        await stop(sending)

    refused(head, answer, 431, "request_header_fields_too_large")


async def test_a_head_that_drips_is_a_time_out(strict: RunningGateway, anybody: Customer) -> None:
    """A header every half second keeps no connection open for longer than the head may take."""
    began = time.monotonic()
    async with wire(strict.port) as client:
        await client.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        dripping = asyncio.create_task(drip(client, b"x: y\r\n" * 1000, size=6, pause=0.5))
        head, answer = await client.answer()
        await stop(dripping)

    refused(head, answer, 408, "request_timeout")
    assert 8 < time.monotonic() - began < 14


async def test_silent_and_half_open_connections_cost_little(strict: RunningGateway, anybody: Customer) -> None:
    before = strict.resident_bytes()
    async with many_wires(strict, 1000) as clients:
        for client in clients[::2]:
            client.half_close()
        for client in clients[1::4]:
            await client.send(b"POST /v1/chat")
        head, _ = await exchange(strict, chat(anybody, "Hello"))

        assert head.status == 200
        assert strict.resident_bytes() - before < 1000 * 32 * 1024


async def test_a_client_that_half_closes_after_its_request_has_its_answer(
    strict: RunningGateway, shared: Installation
) -> None:
    """`printf … | nc`: the server may take it for a hang-up, but books it in any case."""
    customer = shared.customer()
    async with wire(strict.port) as client:
        await client.send(chat(customer, "Hello"))
        client.half_close()
        await client.read_to_end()

    assert len(shared.wait_events(customer, 1)) == 1


REFUSED_ROUTES = [
    ("GET", PATH, 405, "method_not_allowed"),
    ("DELETE", PATH, 405, "method_not_allowed"),
    ("OPTIONS", PATH, 405, "method_not_allowed"),
    ("POST", "/v1/models", 405, "method_not_allowed"),
    ("GET", "/", 404, "not_found"),
    ("GET", "/v1", 404, "not_found"),
    ("POST", PATH + "/", 404, "not_found"),
    ("POST", "//v1/chat/completions", 404, "not_found"),
    ("POST", "/v1/../v1/chat/completions", 404, "not_found"),
    ("POST", "/v1/chat%2Fcompletions%00", 404, "not_found"),
    ("GET", "/v1/unknown?" + "q" * 1000, 404, "not_found"),
    ("GET", "/metrics", 404, "not_found"),
    ("GET", "/healthz", 404, "not_found"),
    ("GET", "/v1/models/%ff%fe", 404, "model_not_found"),
    ("GET", "/v1/models/../../etc/passwd", 404, "model_not_found"),
    ("GET", "/v1/models/" + "m" * 5000, 404, "model_not_found"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), REFUSED_ROUTES)
async def test_an_unknown_route_or_method_is_refused(
    strict: RunningGateway, anybody: Customer, method: str, path: str, status: int, code: str
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {anybody.key}\r\n\r\n"

    answer, body = await exchange(strict, head.encode())

    refused(answer, body, status, code)
    assert len(json.dumps(body)) < 1000


KEYS = {
    "none": "",
    "empty": "authorization: \r\n",
    "empty bearer": "authorization: Bearer \r\n",
    "basic": "authorization: Basic cGs6\r\n",
    "no scheme": "authorization: pk_live_x\r\n",
    "malformed": "authorization: Bearer pk_live_short\r\n",
    "a typing error": f"authorization: Bearer {ApiKey.generate().text[:-1]}!\r\n",
    "another product's": "authorization: Bearer sk-proj-0123456789\r\n",
    "unknown": f"authorization: Bearer {ApiKey.generate().text}\r\n",
    "unknown in the other header": f"x-api-key: {ApiKey.generate().text}\r\n",
    "latin-1": "authorization: Bearer pk_live_\xe9\xff\r\n",
    "long": f"authorization: Bearer {'k' * 60_000}\r\n",
}


@pytest.mark.parametrize("headers", KEYS.values(), ids=KEYS.keys())
async def test_a_wrong_key_is_refused_before_the_body_is_read(strict: RunningGateway, headers: str) -> None:
    """The body is announced and never sent."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 1000\r\n\r\n"

    answer, body = await exchange(strict, head.encode("latin-1"))

    refused(answer, body, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["authorization: bearer {}", "Authorization:  Bearer   {} ", "x-api-key: {}"])
async def test_a_key_is_taken_in_every_usual_form(strict: RunningGateway, anybody: Customer, header: str) -> None:
    body = json.dumps(FINE).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{header.format(anybody.key)}\r\ncontent-length: {len(body)}\r\n\r\n"

    answer, _ = await exchange(strict, head.encode() + body)

    assert answer.status == 200


async def test_keys_show_in_no_log_and_no_answer(strict: RunningGateway, anybody: Customer) -> None:
    unknown = ApiKey.generate().text
    head = (
        f"POST {PATH}?key={unknown} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {unknown}\r\ncontent-length: 0\r\n\r\n"
    )

    _, body = await exchange(strict, head.encode())

    assert unknown not in json.dumps(body)
    log = strict.log.read_text()
    assert unknown not in log
    assert anybody.key not in log


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("expect: 100-continue\r\n", 200),
        ("te: trailers\r\ntrailer: x\r\n", 200),
        ("transfer-encoding: identity\r\n", 400),  # Beside a length: one of the two would be believed.
        ("content-encoding: gzip\r\n", 415),
        ("connection: keep-alive, close\r\n", 200),
    ],
    ids=["expect", "trailers", "identity", "gzip", "close"],
)
async def test_unusual_headers_get_an_answer(
    strict: RunningGateway, anybody: Customer, headers: str, status: int
) -> None:
    async with wire(strict.port) as client:
        await client.send(request(anybody, json.dumps(FINE).encode(), headers=headers))
        head = await client.head()
        if head.status == 100:
            head = await client.head()

    assert head.status == status


async def test_http_1_0_is_answered_and_closed(strict: RunningGateway, anybody: Customer) -> None:
    async with wire(strict.port) as client:
        await client.send(chat(anybody, "Hello").replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, answer = await client.answer()
        rest = await client.read_to_end()

    assert (head.status, rest) == (200, b"")
    assert answer["choices"]


async def test_an_absolute_address_is_answered(strict: RunningGateway, anybody: Customer) -> None:
    """As a client sends it that takes us for a proxy (RFC 9112, 3.2.2)."""
    head, _ = await exchange(strict, chat(anybody, "Hello").replace(PATH.encode(), b"http://gateway" + PATH.encode()))

    assert head.status == 200


async def test_pipelined_requests_are_answered_in_order(strict: RunningGateway, anybody: Customer) -> None:
    requests = [chat(anybody, f'[[sim text="number {number}"]]') for number in range(5)]
    async with wire(strict.port) as client:
        await client.send(b"".join(requests))
        answers = [await client.answer() for _ in range(5)]

    assert [body["choices"][0]["message"]["content"] for _, body in answers] == [f"number {n}" for n in range(5)]


@pytest.mark.parametrize(
    "broken",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, BROKEN_HEADS["two lengths"]],
    ids=["nonsense", "a giant head", "two lengths"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_is_broken_behind_good_requests_waits_for_their_answers_and_gets_none(
    strict: RunningGateway, anybody: Customer, broken: bytes, stream: bool
) -> None:
    """Its error would be taken for the answer to a request that is being served and paid for."""
    good = chat(anybody, "[[sim words=5 pause_ms=10]]", stream=stream)
    async with wire(strict.port) as client:
        await client.send(good + good + broken)
        received = await client.read_to_end()

    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 200 ") == 2
    assert received.count(b"[DONE]") == (2 if stream else 0)
    assert b"invalid_http" not in received


async def test_a_client_that_leaves_pipelined_requests_pays_for_the_one_that_was_begun(
    strict: RunningGateway, shared: Installation
) -> None:
    customer = shared.customer()
    async with wire(strict.port) as client:
        await client.send(chat(customer, "[[sim words=500 pause_ms=10]]", stream=True) + chat(customer, "Hello"))
        await client.read_past(CONTENT)
        await client.leave()

    [booked] = shared.wait_events(customer, 1)
    shared.assert_nothing_held()
    assert booked.event.outcome == "client_gone"
    assert len(shared.events(customer)) == 1


async def test_a_flood_of_unknown_keys_delays_nobody_for_long(strict: RunningGateway, anybody: Customer) -> None:
    flood = [request(Customer(anybody.account_id, anybody.key_id, ApiKey.generate().text), b"{}") for _ in range(300)]
    async with many_wires(strict, 300) as clients:
        for client, data in zip(clients, flood, strict=True):
            await client.send(data)
        began = time.monotonic()
        head, _ = await exchange(strict, chat(anybody, "Hello"))
        waited = time.monotonic() - began
        statuses = {(await client.answer())[0].status for client in clients}

    assert (head.status, statuses) == (200, {401})
    assert waited < 3


async def test_past_the_limit_of_open_requests_there_is_an_answer_at_once(
    shared: Installation, anybody: Customer
) -> None:
    gateway = shared.start_gateway({"GATEWAY_MAX_OPEN_REQUESTS": "3"})
    async with many_wires(gateway, 3) as clients:
        for client in clients:
            await client.send(chat(anybody, "[[sim first_byte_ms=1500]]"))
        await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 3, "three open requests")
        head, answer = await exchange(gateway, chat(anybody, "Hello"))

        refused(head, answer, 503, "overloaded")
        assert "retry-after" in head.headers
        assert [(await client.answer())[0].status for client in clients] == [200] * 3
    assert gateway.stop() == 0


def chunked_head(customer: Customer) -> bytes:
    return request(customer, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")


async def send_chunks(client: Wire, count: int, size: int, *, framed: bool = True) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size) if framed else b"x" * size
    for _ in range(count):
        await client.send(chunk)


async def drip(client: Wire, data: bytes, *, size: int = 10, pause: float = 0.05) -> None:
    for start in range(0, len(data), size):
        await client.send(data[start : start + size])
        await asyncio.sleep(pause)


async def stop(task: "asyncio.Task[None]") -> None:
    """The gateway has answered and may have closed: what the task still wants to send is not needed."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def many_wires(gateway: RunningGateway, count: int) -> AsyncIterator[list[Wire]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(wire(gateway.port)) for _ in range(count)]
