"""When a silent stream says something, and what: on a real connection, by a clock of the test's own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.usage.event_id import EventId
from gateway.accounting.reservation import Reservation
from gateway.answering.keep_alive import KeepAlives
from gateway.dialects.openai.chat_api import ChatApi
from gateway.dialects.openai.chat_request import parse_chat
from gateway.dialects.openai.stream import OpenAIStream
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestRecord
from tests.gateway.accounting.bench import settlement_without_redis
from tests.gateway.inbound.listening import listening
from tests.gateway.reserving import reservation_of
from tests.gateway.settlements import NOW_MS
from tests.gateway.wire import Wire, wire
from tests.harness.waiting import until

SECONDS = 10.0
GET = b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"
CHAT = parse_chat(b'{"model": "asked-for", "messages": [{"role": "user", "content": "Hi"}], "stream": true}')
CREATED = {"created": NOW_MS // 1000, "object": "chat.completion.chunk"}


@dataclass
class Silence:
    keep_alives: KeepAlives
    exchange: Exchange
    reservation: Reservation
    client: Wire
    begun_at: float

    def look(self, seconds: float) -> None:
        """So long after the request was opened."""
        self.keep_alives._open[self.exchange].look(self.begun_at + seconds, SECONDS)

    async def frames(self, count: int) -> list[Any]:
        """What has been sent so far."""
        await self.client.read_past(b"\n\n\r\n", times=count)
        events = [line for line in self.client.received.split(b"\r\n") if line.startswith(b"data: ")]
        assert len(events) == count
        return [json.loads(event.removeprefix(b"data: ")) for event in events]


@asynccontextmanager
async def silence(directory: Path, *, seconds: float = SECONDS) -> AsyncIterator[Silence]:
    """A stream of which nothing has come yet."""
    exchanges: list[Exchange] = []

    async def hold(client: Exchange) -> None:
        exchanges.append(client)
        await asyncio.Event().wait()

    async with listening(hold) as server, wire(server.port) as client:
        await client.send(GET)
        await until(lambda: exchanges)
        reservation = reservation_of(settlement_without_redis(directory), stream=True)
        record = RequestRecord("POST", "/", EventId(1), time.monotonic(), NOW_MS)
        keep_alives = KeepAlives(seconds=seconds)
        begun_at = time.monotonic()
        keep_alives.add(exchanges[0], record, ChatApi(), CHAT, reservation)
        yield Silence(keep_alives, exchanges[0], reservation, client, begun_at)


async def test_the_head_goes_out_with_the_role_after_a_while_and_then_chunks_that_say_nothing(tmp_path: Path) -> None:
    async with silence(tmp_path) as stream:
        stream.look(SECONDS - 1)
        early = stream.exchange.started
        stream.look(SECONDS + 1)
        stream.look(SECONDS * 2)
        stream.look(SECONDS * 2 + 2)
        head = await stream.client.head()
        first, second = await stream.frames(2)

    assert (early, head.status, head.headers["content-type"]) == (False, 200, "text/event-stream; charset=utf-8")
    assert first == CREATED | {"id": "", "model": "asked-for", "choices": first["choices"]}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert second["choices"][0]["delta"] == {}


async def test_the_silence_counts_from_the_last_content(tmp_path: Path) -> None:
    async with silence(tmp_path) as stream:
        stream.exchange.start(200, [])
        await stream.exchange.send(b"data: {}\n\n")
        stream.look(SECONDS * 3)
        stream.look(SECONDS * 4 - 1)
        await stream.client.head()
        before = len(await stream.frames(1))
        stream.look(SECONDS * 4 + 1)
        content, nothing = await stream.frames(2)

    assert (before, content, nothing["choices"][0]["delta"]) == (1, {}, {})


async def test_once_the_upstream_has_named_its_answer_the_chunks_carry_that_name(tmp_path: Path) -> None:
    progress = OpenAIStream(wants_usage=False)
    progress.feed(b'data: {"id": "chatcmpl-1", "model": "served", "choices": []}\n\n')
    async with silence(tmp_path) as stream:
        stream.reservation.progress = progress

        stream.look(SECONDS + 1)
        await stream.client.head()
        [frame] = await stream.frames(1)

    assert (frame["id"], frame["model"]) == ("chatcmpl-1", "served")


async def test_nothing_is_said_behind_an_end_or_to_a_client_that_has_gone(tmp_path: Path) -> None:
    async with silence(tmp_path / "ended") as ended, silence(tmp_path / "left") as left:
        ended.exchange.start(200, [])
        await ended.exchange.send(b"", more=False)
        await left.client.leave()
        await until(lambda: left.exchange.client_gone)

        for stream in (ended, left):
            stream.look(SECONDS * 2)
            stream.look(SECONDS * 4)

        assert not left.exchange.started
        await ended.client.head()
        assert await ended.client.exactly(5) == b"0\r\n\r\n"


async def test_a_stream_is_looked_at_until_it_is_removed(tmp_path: Path) -> None:
    async with silence(tmp_path, seconds=0.02) as stream:
        running = asyncio.create_task(stream.keep_alives.run())
        await stream.client.head()
        await stream.frames(2)

        stream.keep_alives.remove(stream.exchange)
        stream.keep_alives.remove(stream.exchange)
        open_streams = len(stream.keep_alives._open)
        running.cancel()

    assert open_streams == 0
