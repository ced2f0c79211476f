"""
Connections: how many there may be, how long they stay, and what HTTP demands of a server on them.

Guards against S6 (= B9), S11, S13, S19, S20 (= E20), S23 and the HTTP part of C18, found in this product.
"""

import asyncio
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.wire import CONTENT, Wire, chat, request, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import eventually

IDLE_SECONDS = 0.6
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}).encode()
MODELS = b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\n"
LONG: dict[str, Any] = {"max_tokens": 16_000, "n": 40}
"""An answer of megabytes."""
HOLD = "[[sim first_byte_ms=1500]]"


@pytest.fixture(scope="module")
def impatient(shared: Installation) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway({"GATEWAY_IDLE_SECONDS": str(IDLE_SECONDS), "GATEWAY_BODY_SECONDS": "0.5"})
    yield gateway
    assert gateway.stop() == 0
    assert not [line for line in gateway.log_lines() if "traceback" in line]


def announced(key: str, length: int, *, path: str = "/v1/chat/completions", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}content-length: {length}\r\n\r\n"
    return head.encode()


NOTHING_ASKED = {
    "two bytes": b"\r\n",
    "many blank lines": b"\r\n" * 1000,
    "a part of the body after a 401": announced("wrong", 1000) + b"{",
    "a part of the body after a 404": announced("wrong", 1000, path="/nowhere") + b"{",
    "a part of the body after a 413": announced("KEY", 10**9) + b"{",
    "a part of the body until a 408": announced("KEY", 1000) + b"{",
}


@pytest.mark.parametrize("sent", NOTHING_ASKED.values(), ids=NOTHING_ASKED.keys())
@pytest.mark.parametrize("drips", [False, True], ids=["and is silent", "and drips"])
async def test_a_connection_without_a_request_is_closed_whatever_came_on_it(
    impatient: RunningGateway, customer: Customer, sent: bytes, drips: bool
) -> None:
    """S6, B9: two bytes, or a byte of a body that nobody waits for, held a connection for ever."""
    async with wire(impatient.port) as client:
        await client.send(sent.replace(b"KEY", customer.key.encode()))
        dripping = asyncio.create_task(drip_for_ever(client, b"\r\n" if sent.startswith(b"\r\n") else b"x"))
        if not drips:
            dripping.cancel()
        began = time.monotonic()
        await client.read_to_end()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)

    assert time.monotonic() - began < IDLE_SECONDS + 5


async def test_a_request_that_takes_longer_than_the_idle_time_keeps_its_connection(
    impatient: RunningGateway, customer: Customer
) -> None:
    async with wire(impatient.port) as client:
        await client.send(chat(customer, HOLD))
        first, _ = await client.answer()
        await client.send(chat(customer, "Hello"))
        second, _ = await client.answer()

    assert (first.status, second.status) == (200, 200)


async def test_a_body_that_comes_whole_after_an_early_answer_leaves_the_connection_in_use(
    impatient: RunningGateway, customer: Customer
) -> None:
    async with wire(impatient.port) as client:
        await client.send(announced("wrong", 1000))
        early, _ = await client.answer()
        await client.send(b"x" * 1000 + chat(customer, "Hello"))
        second, _ = await client.answer()

    assert (early.status, second.status) == (401, 200)


async def test_beyond_the_bound_connections_are_told_so_and_readiness_shows_it(
    shared: Installation, customer: Customer
) -> None:
    """S6: 300 connections took every file descriptor; nothing was logged, readyz said ready, no metric moved."""
    gateway = shared.start_gateway({"GATEWAY_MAX_CONNECTIONS": "4"})
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(wire(gateway.port)) for _ in range(4)]
        for client in held:
            await client.send(chat(customer, HOLD))
        await asyncio.to_thread(eventually, lambda: gateway.ready()["checks"]["connections"] == "full", "full")
        async with wire(gateway.port) as client:
            refused, error = await client.answer()
            rest = await client.read_to_end()
        answers = [(await client.answer())[0].status for client in held]
    await asyncio.to_thread(eventually, lambda: gateway.ready()["status"] == 200, "readiness")

    assert (refused.status, error["error"]["code"], rest) == (503, "overloaded", b"")
    assert refused.headers["retry-after"] == "1"
    assert answers == [200] * 4
    assert gateway.metric("poindexter_connections_refused_total") == 1
    await asyncio.to_thread(eventually, lambda: bool(gateway.log_lines(message="connections are refused")), "log line")
    assert gateway.stop() == 0


async def test_where_file_descriptors_are_few_idle_connections_make_room(
    shared: Installation, customer: Customer
) -> None:
    """S6, as it was found: `ulimit -n 200` and 300 connections that ask nothing."""
    gateway = shared.start_gateway(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
    async with AsyncExitStack() as stack:
        for _ in range(300):
            await stack.enter_async_context(wire(gateway.port))
        refused = "poindexter_connections_refused_total"
        await asyncio.to_thread(eventually, lambda: gateway.metric(refused) == 300 - 68, "refusals")
        await asyncio.to_thread(eventually, lambda: gateway.ready()["connections"] <= 51, "room", seconds=15)
        async with wire(gateway.port) as client:
            await client.send(chat(customer, "Hello"))
            head, _ = await client.answer()

    assert head.status == 200
    assert gateway.metric("poindexter_connections_limit") == (200 - 64) // 2 == 68
    assert gateway.stop() == 0


async def test_a_process_without_file_descriptors_says_so(shared: Installation) -> None:
    """S6: accepting failed where nobody saw it."""
    gateway = shared.start_gateway()
    _, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    gateway.metric("poindexter_connections")  # This connection stays: through it the admin port can still be asked.

    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    await asyncio.to_thread(
        eventually, lambda: bool(gateway.log_lines(message="no file descriptor is left")), "log line"
    )
    seen = gateway.metric("poindexter_descriptors_exhausted_total")
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (hard, hard))

    assert seen >= 1
    assert gateway.stop() == 0


async def test_a_client_that_never_takes_its_whole_answer_is_given_up(shared: Installation) -> None:
    """S13: twenty of them held 346 MB for as long as they liked."""
    customer = shared.customer(requests_per_minute=None, tokens_per_minute=None)
    gateway = shared.start_gateway({"GATEWAY_STALLED_CLIENT_SECONDS": "0.5"})
    async with wire(gateway.port, receive_buffer=4096) as client:
        await client.send(chat(customer, "[[sim words=16000]]", **LONG))
        await asyncio.to_thread(eventually, lambda: len(shared.events(customer)) == 1, "settled answer", seconds=60)
        connections = gateway.ready()["connections"]
        await asyncio.to_thread(
            eventually, lambda: gateway.metric("poindexter_connections") == 0, "a closed connection"
        )

    assert connections == 1
    assert gateway.stop() == 0


async def test_a_client_that_takes_its_answer_slowly_has_all_of_it(shared: Installation) -> None:
    """S13: slow and stalled are two things."""
    customer = shared.customer(requests_per_minute=None, tokens_per_minute=None)
    gateway = shared.start_gateway({"GATEWAY_STALLED_CLIENT_SECONDS": "0.5"})
    async with wire(gateway.port, receive_buffer=4096) as client:
        await client.send(chat(customer, "[[sim words=16000]]", **LONG))
        head = await client.head()
        began, left = time.monotonic(), int(head.headers["content-length"])
        while time.monotonic() - began < 2:
            left -= len(await client.exactly(min(left, 16_384)))
            await asyncio.sleep(0.05)
        await client.exactly(left)

    assert gateway.stop() == 0


UPGRADES = {
    "Java": "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    "Upgrade: h2c\r\nUser-Agent: Java-http-client/21\r\n",
    "curl": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "a browser's web socket": "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\nsec-websocket-version: 13\r\n",
    "an unknown protocol": "connection: upgrade\r\nupgrade: something/9\r\n",
}


@pytest.mark.parametrize("headers", UPGRADES.values(), ids=UPGRADES.keys())
@pytest.mark.parametrize("pieces", [1, 2, 50])
@pytest.mark.parametrize("coding", ["length", "chunked"])
async def test_an_offer_of_another_protocol_is_ignored(
    gateway: RunningGateway, customer: Customer, headers: str, pieces: int, coding: str
) -> None:
    """S11: every client that offers h2c got 400. The connection goes on as if nothing had been offered."""
    first = request(customer, BODY, headers=headers)
    if coding == "chunked":
        head, body = first.split(b"\r\n\r\n")
        head = head.replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked")
        first = head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    sent = first + chat(customer, "Hello") + request(customer, BODY, headers=headers)
    async with wire(gateway.port) as client:
        for start in range(pieces):
            await client.send(sent[start * len(sent) // pieces : (start + 1) * len(sent) // pieces])
            await asyncio.sleep(0)
        statuses = [(await client.answer())[0].status for _ in range(3)]

    assert statuses == [200] * 3


@pytest.mark.parametrize("connection", ["Upgrade, close", "close, Upgrade", "Upgrade"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_offer_of_another_protocol_on_a_connection_s_last_request_is_ignored(
    gateway: RunningGateway, customer: Customer, connection: str, version: str, stream: bool
) -> None:
    """S11: with `connection: close` beside the offer, or HTTP/1.0, the request was taken for an unfinished head."""
    sent = chat(customer, "[[sim words=3]]", stream=stream)
    sent = sent.replace(b"HTTP/1.1\r\n", f"HTTP/{version}\r\nconnection: {connection}\r\nupgrade: h2c\r\n".encode())
    async with wire(gateway.port) as client:
        await client.send(sent)
        head = await client.head()
        ends = version == "1.0" or "close" in connection
        answer = await client.read_to_end() if ends else b""

    assert head.status == 200
    assert head.headers.get("transfer-encoding") == ("chunked" if stream and version == "1.1" else None)
    assert not ends or (b"[DONE]" in answer if stream else b'"chat.completion"' in answer)


JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
    public static void main(String[] a) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(a[0])).header("authorization", "Bearer " + a[1])
            .header("content-type", "application/json").POST(HttpRequest.BodyPublishers.ofString(a[2])).build();
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++)
            System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
"""


@pytest.mark.skipif(not shutil.which("java"), reason="no java on this machine: only its bytes are tested")
def test_javas_own_client_is_served(gateway: RunningGateway, customer: Customer, tmp_path: Path) -> None:
    """S11."""
    source = tmp_path / "Ask.java"
    source.write_text(JAVA)
    command = ["java", str(source), f"{gateway.url}/v1/chat/completions", customer.key, BODY.decode()]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)

    if "not found in" in ran.stderr or "jdk.compiler" in ran.stderr:
        pytest.skip("this java can't compile: only its bytes are tested")
    assert (ran.stdout.split(), ran.stderr) == (["200", "200"], "")


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl on this machine: only its bytes are tested")
def test_curl_that_offers_http2_is_served(gateway: RunningGateway, customer: Customer) -> None:
    """S11."""
    url = f"{gateway.url}/v1/chat/completions"
    options = ["-sS", "--noproxy", "*", "--http2", "-o", "-", "-w", "%{http_code}", "--data-binary", BODY.decode()]

    ran = subprocess.run(
        ["curl", *options, "-H", f"authorization: Bearer {customer.key}", url], capture_output=True, timeout=30
    )

    if b"does not support" in ran.stderr:
        pytest.skip("this curl can't HTTP/2: only its bytes are tested")
    assert ran.stdout.endswith(b"200")


EXPECTS = "expect: 100-continue\r\n"
REFUSED_EARLY = {
    "401": (announced("wrong", 500, more=EXPECTS), 401),
    "404": (announced("wrong", 500, more=EXPECTS, path="/nowhere"), 404),
    "413": (announced("KEY", 10**9, more=EXPECTS), 413),
}


@pytest.mark.parametrize(("head", "status"), REFUSED_EARLY.values(), ids=REFUSED_EARLY.keys())
async def test_a_body_that_was_not_called_for_is_not_waited_for(
    gateway: RunningGateway, customer: Customer, head: bytes, status: int
) -> None:
    """S19: the next request was taken for the missing body, and swallowed. Behind a proxy it was somebody else's."""
    async with wire(gateway.port) as client:
        await client.send(head.replace(b"KEY", customer.key.encode()))
        refused, _ = await client.answer()
        await client.send(chat(customer, "Is this a body?"))
        rest = await client.read_to_end()

    assert (refused.status, refused.headers["connection"], rest) == (status, "close", b"")


async def test_a_body_that_was_called_for_is_read(gateway: RunningGateway, customer: Customer) -> None:
    async with wire(gateway.port) as client:
        await client.send(announced(customer.key, len(BODY), more=EXPECTS))
        interim = await client.head()
        await client.send(BODY + chat(customer, "Hello"))
        answers = [(await client.answer())[0].status for _ in range(2)]

    assert (interim.status, answers) == (100, [200, 200])


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5"])
async def test_a_stream_for_http_1_0_has_no_chunks_and_ends_with_the_connection(
    gateway: RunningGateway, customer: Customer, model: str
) -> None:
    """S20, E20: a strict client saw the sizes of the chunks in its text."""
    asked = chat(customer, "[[sim words=5]]", model=model, stream=True).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with wire(gateway.port) as client:
        await client.send(asked)
        head = await client.head()
        body = await client.read_to_end()

    assert head.status == 200
    assert "transfer-encoding" not in head.headers
    assert head.headers["connection"] == "close"
    assert {line.partition(b" ")[0] for line in body.split(b"\n") if line} <= {b"data:", b":"}
    assert body.endswith(b"data: [DONE]\n\n")


async def test_trailers_are_dropped(gateway: RunningGateway, customer: Customer) -> None:
    """C18: they were answered with 400. They change nothing, neither in this request nor in the next one."""
    head = request(customer, b"").replace(b"content-length: 0", b"transfer-encoding: chunked\r\ntrailer: x-sum")
    chunks = b"%x\r\n%b\r\n0\r\nx-sum: 1\r\nauthorization: Bearer nobody\r\n\r\n" % (len(BODY), BODY)
    async with wire(gateway.port) as client:
        await client.send((head + chunks) * 2)
        answers = [(await client.answer())[0].status for _ in range(2)]

    assert answers == [200, 200]


@pytest.mark.parametrize("tail", [b"0\r\nx: ", b"1;"], ids=["trailers", "the extension of a chunk"])
async def test_trailers_without_end_are_refused(gateway: RunningGateway, customer: Customer, tail: bytes) -> None:
    head = request(customer, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    before = gateway.resident_bytes()
    async with wire(gateway.port) as client:
        sending = asyncio.create_task(client.send(head + tail + b"x" * 20_000_000))
        refused, error = await client.answer()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    assert (refused.status, error["error"]["code"]) == (431, "request_header_fields_too_large")
    assert gateway.resident_bytes() - before < 8_000_000


async def test_a_body_counts_for_nothing_in_the_head_behind_it(gateway: RunningGateway, customer: Customer) -> None:
    """A pipelined head behind a body of 100 KB was refused as too large."""
    large = request(customer, BODY[:-1] + b" " * 100_000 + b"}")
    async with wire(gateway.port) as client:
        await client.send(large + request(customer, BODY)[:-200])
        first, _ = await client.answer()
        await client.send(request(customer, BODY)[-200:])
        second, _ = await client.answer()

    assert (first.status, second.status) == (200, 200)


async def test_many_small_heads_in_one_piece_count_for_nothing_in_the_last(
    gateway: RunningGateway, customer: Customer
) -> None:
    one = MODELS + f"authorization: Bearer {customer.key}\r\nx-fill: {'x' * 3000}\r\n\r\n".encode()
    async with wire(gateway.port) as client:
        await client.send(one * 30 + one[:-2])
        answers = [(await client.answer())[0].status for _ in range(30)]
        await client.send(one[-2:])
        last, _ = await client.answer()

    assert (set(answers), last.status) == ({200}, 200)


async def test_head_is_answered_like_get_without_a_body(gateway: RunningGateway, customer: Customer) -> None:
    """E23, C18: it was answered with 405."""
    head = MODELS + f"authorization: Bearer {customer.key}\r\n\r\n".encode()
    async with wire(gateway.port) as client:
        await client.send(head.replace(b"GET", b"HEAD") + head)
        without = await client.head()
        whole, listed = await client.answer()

    assert without.status == 200
    assert {model["created"] for model in listed["data"]} == {1_735_689_600}
    assert without.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("when", ["at once", "while it waits", "while it reads"])
async def test_a_client_that_only_ends_its_sending_side_has_its_answer(
    gateway: RunningGateway, shared: Installation, customer: Customer, stream: bool, when: str
) -> None:
    """S23: `printf … | nc`."""
    text = "[[sim words=20 pause_ms=20]]" if when == "while it reads" else "[[sim words=5 first_byte_ms=300]]"
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, stream=stream))
        if when == "while it waits":
            await asyncio.to_thread(eventually, lambda: gateway.metric("poindexter_open_requests") == 1, "request")
        if when == "while it reads" and stream:
            await client.read_past(CONTENT)
        client.half_close()
        received = await client.read_to_end()

    assert b"HTTP/1.1 200 " in received
    assert (b"[DONE]" if stream else b'"finish_reason"') in received
    [booked] = shared.wait_events(customer, 1)
    assert booked.event.outcome == "complete"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_has_gone_is_noticed_while_its_upstream_is_silent(
    gateway: RunningGateway, shared: Installation, customer: Customer, stream: bool
) -> None:
    """Both look alike at first: only the one that has gone resets the connection when it is sent a byte."""
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim first_byte_ms=20000]]", stream=stream))
        await asyncio.to_thread(eventually, lambda: gateway.metric("poindexter_open_requests") == 1, "request")
        await client.leave()

    await asyncio.to_thread(
        eventually, lambda: gateway.metric("poindexter_open_requests") == 0, "end of the request", seconds=5
    )


async def drip_for_ever(client: Wire, byte: bytes) -> None:
    while True:
        await client.send(byte)
        await asyncio.sleep(0.05)
