"""Streams on their way: nothing is held back, nothing depends on where the bytes were cut, many at once stay apart."""

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from tests.gateway.served import booked_once
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.models_text import FreshModels
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere

DONE = b"data: [DONE]"
MODELS = ["gpt-4o-mini", "claude-haiku-4-5"]
TEXT = "Grüße aus Zürich 🌍 naïve café 中文字 ok"


def text_in(body: bytes) -> str:
    """What the events of a stream say, chunk framing of HTTP taken off."""
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("model", MODELS)
async def test_each_chunk_reaches_the_client_when_the_upstream_sends_it(
    gateway: RunningGateway, customer: Customer, model: str
) -> None:
    """F40: words come every 100 ms; the last one is there when the answer is as old as its words."""
    arrivals = []
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=8 pause_ms=100]]", model=model, stream=True))
        for number in range(1, 9):
            await client.read_past(CONTENT, number + 1 if model == "gpt-4o-mini" else number)
            arrivals.append(time.monotonic())

    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert sum(gap > 0.03 for gap in gaps) >= 5  # A busy machine may bring two together, never most of them.


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", [1, 2, 7, 64])
async def test_a_stream_cut_anywhere_says_the_same(
    gateway: RunningGateway,
    shared: Installation,
    upstream: SimulatedUpstream,
    customer: Customer,
    model: str,
    split: int,
) -> None:
    """F41: also inside of a character and inside of `data:`."""
    async with wire(gateway.port) as client:
        await client.send(chat(customer, f'[[sim text="{TEXT}" split_bytes={split}]]', model=model, stream=True))
        await client.head()
        await client.read_past(DONE)

    assert text_in(unchunked(client.received)) == TEXT
    booked_once(shared, upstream, customer)


async def test_hundreds_of_streams_at_once_stay_apart(
    gateway: RunningGateway, shared: Installation, upstream: SimulatedUpstream, customer: Customer
) -> None:
    async def stream(number: int) -> str:
        async with wire(gateway.port) as client:
            text = f'[[sim text="this is stream {number} and nothing else" pause_ms=100]]'
            await client.send(chat(customer, text, model=MODELS[number % 2], stream=True))
            await client.head()
            await client.read_past(DONE)
            return text_in(unchunked(client.received))

    texts = await asyncio.gather(*(stream(number) for number in range(400)))

    assert texts == [f"this is stream {number} and nothing else" for number in range(400)]
    booked_once(shared, upstream, customer, 400)
    shared.assert_nothing_held()
    assert gateway.metric("poindexter_open_requests") == 0


async def test_no_attempt_is_made_for_a_client_that_has_left_and_a_failed_one_costs_nothing(
    gateway: RunningGateway,
    shared: Installation,
    upstream: SimulatedUpstream,
    customer: Customer,
    fresh_models: FreshModels,
) -> None:
    """F21, F23: it hangs up while the gateway waits to ask the same upstream again."""
    model = fresh_models.take("openai")
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim status=503 retry_after=1.2]]", model=model))
        await until_elsewhere(lambda: len(upstream.refused()) == 1, "first attempt")
        await client.leave()
    await until_elsewhere(lambda: bool(lines(gateway, customer)), "log line")

    [line] = lines(gateway, customer)
    assert (line["outcome"], line["attempts"], len(upstream.refused())) == ("client_gone", 1, 1)
    assert shared.events(customer) == []
    shared.assert_nothing_held()


def lines(gateway: RunningGateway, customer: Customer) -> list[dict[str, Any]]:
    return gateway.log_lines(logger="gateway.request", account=customer.account_id)


def unchunked(body: bytes) -> bytes:
    """The body below HTTP's chunks."""
    text = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        text, body = text + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return text
