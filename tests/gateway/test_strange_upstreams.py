"""Upstreams that are silent, unreachable, too large, compressed or of two minds, on real processes: what the client
sees, what is asked again, and who pays (E1, E8, E13, E15, E21, S15, S21, S23, B10, B12, C15, C16).
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from openai import AsyncOpenAI

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome
from tests.gateway.outbound.peer import Call, Script, peer
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import eventually, until_elsewhere

MODELS = """
[providers.first]
schema = "{schema}"
base_url = "{scheme}://127.0.0.1:{first}"
api_key = "sk-test"

[providers.second]
schema = "openai"
base_url = "http://127.0.0.1:{second}"
api_key = "sk-test"

[models.m]
context_tokens = 100_000
max_output_tokens = 1000
price = {{ input = "1", output = "1" }}
targets = [{{ provider = "first", model = "a" }}]

[models.both]
context_tokens = 100_000
max_output_tokens = 1000
price = {{ input = "1", output = "1" }}
targets = [{{ provider = "first", model = "a" }}, {{ provider = "second", model = "{other}", priority = 1 }}]
"""
HASTY = {"GATEWAY_KEEPALIVE_SECONDS": "0.3"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass
class Shop:
    installation: Installation
    gateway: RunningGateway
    customer: Customer
    asked: list[bytes]
    """Requests to the first upstream."""

    async def leave_no_trace(self) -> None:
        """Nothing is booked and nothing is held."""
        await asyncio.to_thread(self.installation.assert_nothing_held)
        assert self.installation.events(self.customer) == []


@asynccontextmanager
async def opened(
    installation: Installation,
    answer: Callable[[Call], Awaitable[None]],
    second: bytes = b"",
    *,
    schema: str = "openai",
    other: str = "b",
    settings: Mapping[str, str] | None = None,
    scheme: str = "http",
) -> AsyncIterator[Shop]:
    """A gateway before an upstream that plays `answer` for each request, and a fallback that always says `second`."""
    asked: list[bytes] = []

    async def play(call: Call) -> None:
        asked.append(await call.request())
        await answer(call)
        call.close()

    async def hang(call: Call) -> None:
        await call.closed_by_client()

    async with peer(hang if scheme == "https" else play) as one, peer(saying(second)) as two:
        text = MODELS.format(schema=schema, scheme=scheme, first=one.origin.port, second=two.origin.port, other=other)
        await asyncio.to_thread(installation.models_file.write_text, text)
        gateway = await asyncio.to_thread(installation.start_gateway, settings)
        try:
            yield Shop(installation, gateway, installation.customer(), asked)
        finally:
            await asyncio.to_thread(gateway.stop)


def saying(answer: bytes) -> Script:
    async def play(call: Call) -> None:
        await call.request()
        await call.send(answer)
        call.close()

    return play


def sends(*parts: bytes) -> Callable[[Call], Awaitable[None]]:
    async def play(call: Call) -> None:
        for part in parts:
            await call.send(part)

    return play


def whole(status: int, body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, more, len(body), body)


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "a", "choices": [choice]})


def completion(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "model": "a", "choices": [choice], "usage": USAGE}).encode()


ROLE = chunk({"role": "assistant", "content": ""})
END = chunk({}, "stop") + event({"id": "c1", "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"
CLAUDE = {"id": "c1", "type": "message", "role": "assistant", "model": "a", "content": [], "usage": {"input_tokens": 9}}
CLAUDE_START = event({"type": "message_start", "message": CLAUDE})
CLAUDE_TEXT = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}) + event(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
)
CLAUDE_END = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})
CLAUDE_END += event({"type": "message_stop"})


async def refusal(shop: Shop, text: str = "hello", **more: Any) -> tuple[int, dict[str, Any]]:
    async with wire(shop.gateway.port) as client:
        await client.send(chat(shop.customer, text, **{"model": "m", **more}))
        head, body = await client.answer()
        return head.status, {**body["error"], **head.headers}


def silences(schema: str) -> dict[str, Callable[[Call], Awaitable[None]]]:
    """Where a stream can be silent for two keep-alives."""
    start, text, end = (ROLE, chunk({"content": "hi"}), END)
    if schema == "anthropic":
        start, text, end = CLAUDE_START, CLAUDE_TEXT, CLAUDE_END
    ping = b": ping\n\n" if schema == "openai" else event({"type": "ping"})

    async def before_the_head(call: Call) -> None:
        await asyncio.sleep(1.2)
        await call.send(STREAM_HEAD + start + text + end)

    async def before_the_content(call: Call) -> None:
        await call.send(STREAM_HEAD + start)
        for _ in range(6):
            await asyncio.sleep(0.2)
            await call.send(ping)
        await call.send(text + end)

    async def in_the_middle(call: Call) -> None:
        await call.send(STREAM_HEAD + start + text)
        await asyncio.sleep(1.2)
        await call.send(end)

    return {"head": before_the_head, "content": before_the_content, "middle": in_the_middle}


@pytest.mark.parametrize("place", ["head", "content", "middle"])
@pytest.mark.parametrize("schema", ["openai", "anthropic"])
async def test_a_silent_upstream_does_not_make_a_silent_stream(
    installation: Installation, schema: str, place: str
) -> None:
    """E13, C15, C16: the client got no byte for a minute, and then a comment."""
    silent = silences(schema)[place]
    async with (
        opened(installation, silent, schema=schema, settings=HASTY) as shop,
        wire(shop.gateway.port) as client,
    ):
        await client.send(chat(shop.customer, "hello", model="m", stream=True))
        await client.head()
        await client.read_past(b"[DONE]")

    chunks = [json.loads(line[6:]) for line in client.received.split(b"\n") if line.startswith(b"data: {")]
    deltas = [one["choices"][0]["delta"] for one in chunks if one["choices"]]
    assert sum(delta == {} for delta in deltas) >= 2  # Keep-alives, beside the last chunk of all.
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]
    assert "role" in deltas[0]
    assert {one["id"] for one in chunks} <= {"", "c1"}
    assert b": ping" not in client.received


@pytest.mark.parametrize("place", ["head", "content", "middle"])
async def test_the_sdk_adds_up_an_answer_with_keep_alives_as_any_other(installation: Installation, place: str) -> None:
    """E13"""
    async with opened(installation, silences("openai")[place], settings=HASTY) as shop:
        sdk = AsyncOpenAI(api_key=shop.customer.key, base_url=shop.gateway.openai_url, max_retries=0)
        async with sdk, sdk.chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as stream:
            answer = await stream.get_final_completion()

    message = answer.choices[0].message
    assert (message.role, message.content, answer.choices[0].finish_reason) == ("assistant", "hi", "stop")


async def test_failover_goes_on_behind_a_head_that_is_out(installation: Installation) -> None:
    """E13"""

    async def fail_late(call: Call) -> None:
        await asyncio.sleep(0.8)
        await call.send(whole(429, b"{}"))

    fallback = STREAM_HEAD + ROLE + chunk({"content": "from the fallback"}) + END
    async with opened(installation, fail_late, fallback, settings=HASTY) as shop, wire(shop.gateway.port) as client:
        await client.send(chat(shop.customer, "hello", model="both", stream=True))
        await client.read_past(b"[DONE]")

    assert b"from the fallback" in client.received
    assert client.received.count(b'"role":"assistant"') == 1


async def test_a_failure_behind_a_head_that_is_out_is_told_by_an_event(installation: Installation) -> None:
    """E13"""

    async def fail_late(call: Call) -> None:
        await asyncio.sleep(0.8)
        await call.send(whole(400, b'{"error": {"message": "No.", "type": "invalid_request_error", "param": "x"}}'))

    async with opened(installation, fail_late, settings=HASTY) as shop:
        async with wire(shop.gateway.port) as client:
            await client.send(chat(shop.customer, "hello", model="m", stream=True))
            assert (await client.head()).status == 200
            await client.read_past(b'"param":"x"')
            await client.read_past(b"0\r\n\r\n")
        await shop.leave_no_trace()
        eventually(lambda: bool(shop.gateway.log_lines(logger="gateway.request")), "a log line")
        [line] = shop.gateway.log_lines(logger="gateway.request")

    assert (line["status"], line["outcome"]) == (400, "error")  # Alerts are about what was answered.
    assert b"[DONE]" not in client.received
    assert b'{"error":{"message":"No."' in client.received


@pytest.mark.parametrize(
    "noise", [b"\n" * 65_536, b": comment\n\n" * 5_000, ROLE * 500], ids=["blank lines", "comments", "roles"]
)
async def test_noise_without_content_is_no_answer(installation: Installation, noise: bytes) -> None:
    """S21, B21: it was kept, and searched again and again, for ten minutes."""

    async def make_noise(call: Call) -> None:
        await call.send(STREAM_HEAD)
        while True:
            await call.send(noise)

    async with opened(installation, make_noise) as shop:
        before = shop.gateway.resident_bytes()
        status, error = await refusal(shop, stream=True)

        assert status == 502
        assert "without any content" in error["message"]
        assert shop.gateway.resident_bytes() - before < 100_000_000
        await shop.leave_no_trace()


async def test_who_leaves_while_we_still_connect_pays_nothing_and_the_upstream_is_found_out(
    installation: Installation,
) -> None:
    """S15, B10: six of six were charged their input, and no circuit opened."""
    answer = whole(200, completion("from the fallback"))
    async with opened(installation, sends(), answer, scheme="https") as shop:
        for _ in range(5):
            async with wire(shop.gateway.port) as client:
                await client.send(chat(shop.customer, "hello", model="both"))
                await asyncio.sleep(0.4)  # A client with little patience.
                await client.leave()
            await until_elsewhere(
                lambda: shop.gateway.metric("poindexter_open_requests") == 0, "the end of the request"
            )
        await shop.leave_no_trace()

        async with wire(shop.gateway.port) as client:
            await client.send(chat(shop.customer, "hello", model="both"))
            assert (await client.head()).headers["x-poindexter-target"] == "second/b"


async def test_a_compressed_refusal_is_read_and_stays_a_refusal(installation: Installation) -> None:
    """E15"""
    body = gzip.compress(b'{"error": {"message": "Too hot.", "type": "invalid_request_error"}}')
    answer = sends(whole(400, body, b"content-encoding: gzip\r\n"))
    async with opened(installation, answer) as shop:
        status, error = await refusal(shop)

        assert (status, error["message"], len(shop.asked)) == (400, "Too hot.", 1)


async def test_a_compressed_answer_is_read_and_a_compressed_stream_says_what_is_wrong(
    installation: Installation,
) -> None:
    """E15"""
    packed = gzip.compress(completion("unpacked"))
    async with opened(installation, sends(whole(200, packed, b"content-encoding: gzip\r\n"))) as shop:
        async with wire(shop.gateway.port) as client:
            await client.send(chat(shop.customer, "hello", model="m"))
            _, body = await client.answer()
        status, error = await refusal(shop, stream=True)

        assert body["choices"][0]["message"]["content"] == "unpacked"
        assert status == 502
        assert "compressed" in error["message"]
        failures = shop.gateway.log_lines(message="upstream attempt failed")
        assert all("MalformedResponse" in line["error"] for line in failures)


async def test_a_long_refusal_stays_a_refusal_and_is_not_asked_again(installation: Installation) -> None:
    """S23: a 400 of 100 KB became a 502."""
    async with opened(installation, sends(whole(400, b'{"error": {"message": "' + b"x" * 100_000 + b'"}}'))) as shop:
        status, _ = await refusal(shop)

        assert (status, len(shop.asked)) == (400, 1)
        await shop.leave_no_trace()


async def test_an_answer_over_the_limit_is_asked_for_once_and_leaves_a_row(installation: Installation) -> None:
    """S23: the provider bills it, and nothing said so."""
    settings = {"GATEWAY_MAX_ANSWER_BYTES": "10000"}
    async with opened(installation, sends(whole(200, completion("x" * 50_000))), settings=settings) as shop:
        status, error = await refusal(shop, max_tokens=50)
        [booked] = await asyncio.to_thread(installation.wait_events, shop.customer, 1)

        assert (status, error["message"], error["x-should-retry"], len(shop.asked)) == (
            502, "The provider's answer is too large.", "false", 1,
        )  # fmt: skip
        assert (booked.event.estimated, booked.event.outcome) == ("answer_too_large", Outcome.UPSTREAM_FAILED)
        assert booked.event.usage.output == 50
        await asyncio.to_thread(installation.assert_nothing_held)


@pytest.mark.parametrize("body", [b"<html>", b'{"no": "choices"}', b"[]"])
async def test_a_whole_answer_that_can_not_be_read_is_not_asked_for_again(
    installation: Installation, body: bytes
) -> None:
    """E8: it may have been billed. Another upstream may answer."""
    async with opened(installation, sends(whole(200, body)), whole(200, completion("hi"))) as shop:
        status, _ = await refusal(shop)
        assert (status, len(shop.asked)) == (502, 1)

        async with wire(shop.gateway.port) as client:
            await client.send(chat(shop.customer, "hello", model="both"))
            assert (await client.head()).headers["x-poindexter-target"] == "second/b"


async def test_a_place_for_a_drain_is_free_when_the_upstream_has_ended(installation: Installation) -> None:
    """B12: one place, held for a minute by an upstream that needed half a second more."""

    async def answer(call: Call) -> None:
        await call.send(STREAM_HEAD + ROLE + chunk({"content": "hi"}))
        await asyncio.sleep(0.4)
        await call.send(END)

    settings = {"GATEWAY_ON_DISCONNECT": "drain", "GATEWAY_MAX_DRAINS": "1"}
    async with opened(installation, answer, settings=settings) as shop:
        for number in range(1, 4):
            async with wire(shop.gateway.port) as client:
                await client.send(chat(shop.customer, "hello", model="m", stream=True))
                await client.read_past(CONTENT)
                await client.leave()
            events = await asyncio.to_thread(installation.wait_events, shop.customer, number)

            assert events[-1].event.usage == TokenUsage(input=100, output=20)


@pytest.mark.parametrize("together", [True, False])
async def test_usage_that_comes_after_the_end_is_what_is_booked(installation: Installation, together: bool) -> None:
    """E21: 100 and 20 were reported, an estimate was booked."""
    late = event({"id": "c1", "choices": [], "usage": USAGE})
    done = chunk({}, "stop") + b"data: [DONE]\n\n"
    parts = [STREAM_HEAD + ROLE + chunk({"content": "hi"}), *([done + late] if together else [done, late])]
    async with opened(installation, sends(*parts)) as shop, wire(shop.gateway.port) as client:
        await client.send(chat(shop.customer, "hello", model="m", stream=True))
        await client.read_past(b"[DONE]")
        [booked] = await asyncio.to_thread(installation.wait_events, shop.customer, 1)

    assert (booked.event.usage, booked.event.estimated) == (TokenUsage(input=100, output=20), "")


REFUSED = whole(400, b'{"error": {"message": "Unknown parameter.", "type": "invalid_request_error", "param": "x"}}')


@pytest.mark.parametrize(
    ("other", "status"), [("b", 503), ("a", 400)], ids=["another model's refusal", "the same model's refusal"]
)
async def test_a_fallbacks_refusal_is_the_last_word_only_if_the_first_would_have_said_the_same(
    installation: Installation, other: str, status: int
) -> None:
    """E1, C2: a permanent 400 during an outage of the model that the request was made for."""
    async with opened(installation, sends(whole(503, b"{}")), REFUSED, other=other) as shop:
        tried, _ = await refusal(shop, model="both")
        for _ in range(3):
            await refusal(shop, model="both")
        asked = len(shop.asked)
        passed_over, error = await refusal(shop, model="both")

        assert (tried, passed_over) == (status, status)
        assert len(shop.asked) == asked  # Its circuit is open: the fallback alone was asked.
        if status == 503:
            assert float(error["retry-after"]) >= 1
