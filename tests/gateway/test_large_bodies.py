"""
Large bodies: whom they cost what. Guards against S7, E16 and B's "no common bound", found in this product.
"""

import asyncio
import gzip
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.gateway.wire import Head, Wire, chat, request, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway

MEBIBYTE = 1024 * 1024
MANY_VALUES = b'{"model":"gpt-4o-mini","messages":[' + b"[]," * (11 * MEBIBYTE) + b"[]]}"
"""33 MB: a gigabyte of objects, and seconds of work for the parser."""
FINE = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}).encode()


@pytest.fixture(scope="module")
def spacious(shared: Installation) -> Iterator[RunningGateway]:
    """A gateway that takes bodies of 64 MiB, and 100 MiB together."""
    settings = {"GATEWAY_MAX_BODY_BYTES": str(64 * MEBIBYTE), "GATEWAY_MAX_BODIES_BYTES": str(100 * MEBIBYTE)}
    gateway = shared.start_gateway(settings)
    yield gateway
    assert gateway.stop() == 0
    assert not [line for line in gateway.log_lines() if "traceback" in line]


def revoked(shared: Installation) -> Customer:
    customer = shared.customer()
    shared.with_services(lambda services: services.api_keys.revoke(customer.key_id))
    return customer


def suspended(shared: Installation) -> Customer:
    customer = shared.customer()
    shared.with_services(lambda services: services.accounts.change(customer.account_id, status="suspended"))
    return customer


def expired(shared: Installation) -> Customer:
    customer = shared.customer()
    shared.redis.hset(shared.keys_of(customer).key(customer.key_id), "expires_at", "1")
    return customer


REFUSED = {"revoked": (revoked, 401), "suspended": (suspended, 403), "expired": (expired, 401)}


async def served_meanwhile(gateway: RunningGateway, customer: Customer, others: "asyncio.Future[Any]") -> list[float]:
    """How long each small request took, as long as the others go on."""
    took: list[float] = []
    async with wire(gateway.port) as client:
        while not others.done() or len(took) < 5:
            began = time.monotonic()
            await client.send(chat(customer, "Hello"))
            assert (await client.answer())[0].status == 200
            took.append(time.monotonic() - began)
    return took


async def send_and_read(client: Wire, data: bytes) -> tuple[Head, Any]:
    sending = asyncio.create_task(client.send(data))
    try:
        return await client.answer()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize(("make", "status"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_key_that_may_not_be_used_gets_no_large_body_read(
    spacious: RunningGateway, shared: Installation, make: Any, status: int, announced: bool
) -> None:
    """S7: the body was read and parsed first. Only its first bytes are sent here: the answer must not wait."""
    customer = make(shared)
    head = request(customer, b"")
    length = b"content-length: %d" % len(MANY_VALUES) if announced else b"transfer-encoding: chunked"
    async with wire(spacious.port) as client:
        await client.send(head.replace(b"content-length: 0", length) + (b"{" if announced else b"1\r\n{\r\n"))
        refused, _ = await client.answer()

    assert refused.status == status


@pytest.mark.parametrize("allowed", [False, True], ids=["of a revoked key", "of a good key"])
async def test_bodies_of_eleven_million_values_delay_nobody_and_fill_no_memory(
    spacious: RunningGateway, shared: Installation, allowed: bool
) -> None:
    """S7: four at once, 7.2 s in which no other client was served, and 3.5 GB. Compared with bodies of as many bytes
    that hold one long text, and not with a clock."""
    sender = shared.customer(requests_per_minute=None, tokens_per_minute=None) if allowed else revoked(shared)
    other = shared.customer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None)
    plain = b'{"model":"nobody-has-this","messages":[{"role":"user","content":"' + b"x" * len(MANY_VALUES) + b'"}]}'

    calm = await slowest_beside(spacious, sender, other, plain, {404} if allowed else {401})
    before = spacious.resident_bytes()
    busy = await slowest_beside(spacious, sender, other, MANY_VALUES, {413} if allowed else {401})

    assert busy < calm * 3 + 0.3
    assert spacious.resident_bytes() - before < 3 * len(MANY_VALUES)


async def slowest_beside(
    gateway: RunningGateway, sender: Customer, other: Customer, body: bytes, statuses: set[int]
) -> float:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(gateway.port)) for _ in range(4)]
        large = asyncio.gather(*(send_and_read(client, request(sender, body)) for client in clients))
        took = await served_meanwhile(gateway, other, large)
        assert {head.status for head, _ in await large} - {503} <= statuses
    return max(took)


async def test_a_body_with_too_many_values_is_told_so(spacious: RunningGateway, customer: Customer) -> None:
    body = b'{"model":"gpt-4o-mini","messages":[' + b"0," * 250_000 + b"0]}"
    async with wire(spacious.port) as client:
        refused, answer = await send_and_read(client, request(customer, body))

    assert (refused.status, answer["error"]["code"]) == (413, "request_too_large")
    assert "200,000 JSON values" in answer["error"]["message"]


async def test_a_long_text_full_of_commas_and_quotes_is_no_such_body(
    spacious: RunningGateway, customer: Customer
) -> None:
    text = 'name,"value",[0]\n' * 150_000
    async with wire(spacious.port) as client:
        head, answer = await send_and_read(client, chat(customer, text, model="nobody-has-this"))

    assert (head.status, answer["error"]["code"]) == (404, "model_not_found")


async def test_all_bodies_together_have_a_bound(spacious: RunningGateway, shared: Installation) -> None:
    """12,000 open requests of 32 MiB each had none."""
    customer = shared.customer(requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None)
    head = request(customer, b"").replace(b"content-length: 0", b"content-length: %d" % (64 * MEBIBYTE))
    async with wire(spacious.port) as first, wire(spacious.port) as second, wire(spacious.port) as third:
        await first.send(head + b" " * (60 * MEBIBYTE))
        await second.send(head + b" " * (30 * MEBIBYTE))
        refused, answer = await send_and_read(third, head + b" " * (30 * MEBIBYTE))

    assert (refused.status, answer["error"]["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    async with wire(spacious.port) as client:  # What the others held is given back.
        await client.send(head + b" " * (64 * MEBIBYTE))
        again, _ = await client.answer()
    assert again.status == 400


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "foo", "gzip, identity"])
async def test_a_compressed_body_is_refused_in_plain_words(
    spacious: RunningGateway, customer: Customer, coding: str
) -> None:
    """E16: "str is not valid UTF-8", and an unknown coding was ignored."""
    body = gzip.compress(FINE) if "gzip" in coding else FINE
    async with wire(spacious.port) as client:
        refused, answer = await send_and_read(
            client, request(customer, body, headers=f"content-encoding: {coding}\r\n")
        )

    assert (refused.status, answer["error"]["code"]) == (415, "unsupported_content_encoding")
    assert "can't be compressed" in answer["error"]["message"]


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_a_body_that_says_it_is_not_compressed_is_served(
    spacious: RunningGateway, customer: Customer, coding: str
) -> None:
    async with wire(spacious.port) as client:
        await client.send(request(customer, FINE, headers=f"content-encoding: {coding}\r\n"))
        head, _ = await client.answer()

    assert head.status == 200
