"""A request's body on its way in: whose is read, how much of it, how long, and how many at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.redis.lua_scripts import Argument
from deploy.local.servers.valkey import ValkeyServer
from gateway.admission.standing import Standing
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_api import ChatApi
from gateway.dialects.openai.chat_request import parse_chat
from gateway.endpoints.bodies import LARGE_BYTES, MAX_VALUES, VERY_LARGE_BYTES, Bodies
from gateway.endpoints.router import Router
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestRecord
from tests.gateway.accounting.bench import Bench, bench_on
from tests.gateway.inbound.listening import listening
from tests.gateway.reserving import PRINCIPAL
from tests.gateway.settlements import SHARDS
from tests.gateway.wire import request, wire
from tests.harness.waiting import until

PATH = "/v1/chat/completions"
MAX_BYTES = 4 * VERY_LARGE_BYTES


def document(text: str = "Hi", **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


SMALL = document()
LARGE = document("x" * LARGE_BYTES)
VERY_LARGE = document("x" * VERY_LARGE_BYTES)


def announced(length: int, body: bytes = b"", more: str = "") -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{more}content-length: {length}\r\n\r\n".encode() + body


def chunked(*pieces: bytes) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@dataclass
class Reading:
    port: int
    bodies: Bodies
    read: list[GenerationRequest] = field(default_factory=list)
    records: list[RequestRecord] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared, it holds every request with its body in memory."""


@asynccontextmanager
async def reading(bench: Bench, *, max_seconds: float = 30.0, together: int = 10 * MAX_BYTES) -> AsyncIterator[Reading]:
    standing = Standing(bench.pipeline, bench.scopes, shard_count=SHARDS)
    bodies = Bodies(standing, max_bytes=MAX_BYTES, max_seconds=max_seconds, max_bytes_together=together)
    state = Reading(0, bodies)
    state.go_on.set()

    async def endpoint(client: Exchange, record: RequestRecord) -> None:
        try:
            state.read.append(await bodies.read(client, PRINCIPAL, parse_chat))
            await state.go_on.wait()
        finally:
            bodies.release(client)
        await client.answer(200, [(b"content-type", b"application/json")], b"{}")

    router = Router(
        {PATH: {"POST": endpoint}}, {}, (state.records.append,), default_api=ChatApi(), apis={}, max_open_requests=100
    )
    async with listening(router) as server:
        state.port = server.port
        yield state
    assert bodies._bytes == 0


async def status_of(gateway: Reading, sent: bytes) -> tuple[int, str]:
    """And the error's code."""
    async with wire(gateway.port) as client:
        await client.send(sent)
        head, body = await client.answer()
    return head.status, body["error"]["code"] if body else ""


@pytest.mark.parametrize("body", [SMALL, LARGE, VERY_LARGE], ids=["small", "large", "very large"])
@pytest.mark.parametrize("way", ["at once", "in two pieces", "in chunks"])
async def test_a_body_is_the_same_however_it_comes(tmp_path: Path, redis_url: str, body: bytes, way: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway, wire(gateway.port) as client:
        await bench.publish()
        if way == "at once":
            await client.send(request(None, body))
        else:
            first, second = body[:50], body[50:]
            await client.send(chunked(first) if way == "in chunks" else announced(len(body), first))
            await asyncio.sleep(0)
            await client.send(chunked(second, b"").partition(b"\r\n\r\n")[2] if way == "in chunks" else second)
        head = await client.head()

        assert (head.status, gateway.read[0].document) == (200, json.loads(body))


BARRED: dict[str, tuple[Mapping[str, Argument], Mapping[str, Argument], tuple[int, str]]] = {
    "revoked": ({}, {"status": "revoked"}, (401, "invalid_api_key")),
    "expired": ({}, {"expires_at": 1}, (401, "invalid_api_key")),
    "suspended": ({"status": "suspended"}, {}, (403, "account_suspended")),
}


@pytest.mark.parametrize("case", BARRED)
async def test_what_it_costs_to_take_in_a_large_body_is_not_free_for_a_key_that_is_barred(
    tmp_path: Path, redis_url: str, case: str
) -> None:
    """Nor is one that is still on its way. A small one costs less than the question: the admission refuses it."""
    account, key, told = BARRED[case]
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        await bench.publish(account=account, key=key)

        large = await status_of(gateway, request(None, LARGE))
        on_its_way = await status_of(gateway, announced(len(LARGE), LARGE[:10]))
        small = await status_of(gateway, request(None, SMALL))

        assert (large, on_its_way, small) == (told, told, (200, ""))


@pytest.mark.parametrize("away", [False, True], ids=["redis does not know the key", "redis is away"])
async def test_where_redis_cannot_say_the_admission_decides(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, away: bool
) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        if away:
            await asyncio.to_thread(valkey_server.kill)
            await until(lambda: not bench.pipeline.connected)

        assert await status_of(gateway, request(None, LARGE)) == (200, "")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(tmp_path: Path, redis_url: str, coding: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        sent = request(None, SMALL, headers=f"content-encoding: {coding}\r\n")

        assert await status_of(gateway, sent) == (415, "unsupported_content_encoding")
        assert (await status_of(gateway, sent.replace(coding.encode(), b"Identity")))[0] == 200


async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        assert await status_of(gateway, announced(MAX_BYTES + 1)) == (413, "request_too_large")


async def test_a_body_of_unknown_length_is_refused_when_it_passes_the_bound(tmp_path: Path, redis_url: str) -> None:
    piece = b"x" * VERY_LARGE_BYTES
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        assert await status_of(gateway, chunked(*[piece] * 4, b"x")) == (413, "request_too_large")


async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(tmp_path: Path, redis_url: str) -> None:
    many = b'{"model":"m","messages":[' + b"[]," * (MAX_VALUES // 2) + b"[]]}"
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        assert await status_of(gateway, request(None, many)) == (413, "request_too_large")
        assert await status_of(gateway, request(None, document("[]," * MAX_VALUES))) == (200, "")


async def test_a_body_that_does_not_come_in_time_is_told_so_and_ends_the_connection(
    tmp_path: Path, redis_url: str
) -> None:
    async with (
        bench_on(tmp_path, redis_url) as bench,
        reading(bench, max_seconds=0.1) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(announced(100, b"{"))
        head, body = await client.answer()
        rest = await client.read_to_end()

        assert (head.status, body["error"]["code"], head.headers["connection"]) == (408, "request_timeout", "close")
        assert rest == b""


async def test_all_bodies_together_have_a_bound_and_each_gives_back_what_it_took(
    tmp_path: Path, redis_url: str
) -> None:
    half = document("x" * (MAX_BYTES // 2))
    async with (
        bench_on(tmp_path, redis_url) as bench,
        reading(bench, together=MAX_BYTES) as gateway,
        wire(gateway.port) as first,
    ):
        gateway.go_on.clear()
        await first.send(request(None, half))
        await until(lambda: gateway.read)

        crowded = await status_of(gateway, request(None, half))
        gateway.go_on.set()
        served = (await first.head()).status
        afterwards = await status_of(gateway, request(None, half))

        assert (crowded, served, afterwards) == ((503, "overloaded"), 200, (200, ""))


@pytest.mark.parametrize("body", [SMALL, LARGE, VERY_LARGE], ids=["small", "large", "very large"])
async def test_a_body_counts_until_its_request_has_ended(tmp_path: Path, redis_url: str, body: bytes) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway, wire(gateway.port) as client:
        gateway.go_on.clear()
        await client.send(request(None, body))
        await until(lambda: gateway.read)
        held = gateway.bodies._bytes
        gateway.go_on.set()
        await client.head()

        assert (held, gateway.bodies._bytes) == (len(body), 0)


async def test_a_client_that_leaves_in_the_middle_of_its_body_gives_back_what_it_took(
    tmp_path: Path, redis_url: str
) -> None:
    async with bench_on(tmp_path, redis_url) as bench, reading(bench) as gateway:
        async with wire(gateway.port) as client:
            await client.send(announced(len(LARGE), LARGE[:1000]))
            await until(lambda: gateway.bodies._bytes)
        await until(lambda: gateway.records)

        assert (gateway.records[0].outcome, gateway.bodies._bytes) == ("client_gone", 0)
