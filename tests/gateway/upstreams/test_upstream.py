"""What a streamed answer means to its upstream until its last byte: it occupies a place, and it can still fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import eventually

MODELS = """
[providers.narrow]
schema = "openai"
base_url = "{openai}"
api_key = "sk-sim"
max_concurrency = 1

[providers.wide]
schema = "anthropic"
base_url = "{anthropic}"
api_key = "sk-sim"

[models.fallback]
context_tokens = 128_000
max_output_tokens = 16_384
price = {{ input = "1.00", output = "1.00" }}
targets = [
    {{ provider = "narrow", model = "gpt-4o-mini" }},
    {{ provider = "wide", model = "claude-haiku-4-5", priority = 1 }},
]
"""


@pytest.fixture
def narrow(installation: Installation, upstream: SimulatedUpstream) -> Iterator[RunningGateway]:
    models = MODELS.format(openai=upstream.openai_url, anthropic=upstream.anthropic_url)
    Path(installation.models_file).write_text(models)
    gateway = installation.start_gateway()
    yield gateway
    gateway.stop()


async def test_a_stream_holds_its_place_at_the_provider_until_its_end(
    narrow: RunningGateway, installation: Installation
) -> None:
    customer = installation.customer()

    async with wire(narrow.port) as long, wire(narrow.port) as short:
        await long.send(chat(customer, "[[sim words=400 pause_ms=5]]", model="fallback", stream=True))
        await long.read_past(CONTENT)
        await short.send(chat(customer, "[[sim words=2]]", model="fallback"))
        meanwhile = await short.head()

    assert meanwhile.headers["x-poindexter-target"] == "wide/claude-haiku-4-5"


async def test_a_provider_whose_streams_keep_breaking_off_is_left_alone(
    narrow: RunningGateway, installation: Installation
) -> None:
    customer = installation.customer()

    for _ in range(5):
        await broken_stream(narrow, customer)

    eventually(lambda: narrow.metric("poindexter_circuits_open", target="narrow/gpt-4o-mini") == 1, "an open circuit")
    assert await target_of_the_next(narrow, customer) == "wide/claude-haiku-4-5"


async def test_clients_that_hang_up_say_nothing_about_a_provider(
    narrow: RunningGateway, installation: Installation
) -> None:
    """F58"""
    customer = installation.customer()

    for _ in range(6):
        async with wire(narrow.port) as client:
            await client.send(chat(customer, "[[sim words=100 pause_ms=5]]", model="fallback", stream=True))
            await client.read_past(CONTENT)
        eventually(lambda: narrow.metric("poindexter_open_requests") == 0, "the end of the request")

    assert narrow.metric("poindexter_circuits_open", target="narrow/gpt-4o-mini") == 0
    assert await target_of_the_next(narrow, customer) == "narrow/gpt-4o-mini"


async def broken_stream(gateway: RunningGateway, customer: Customer) -> None:
    text = "[[sim words=20 cut=reset after=3 model=gpt-4o-mini]]"
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, model="fallback", stream=True))
        await client.read_past(b"upstream_error")


async def target_of_the_next(gateway: RunningGateway, customer: Customer) -> str:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=2]]", model="fallback"))
        return (await client.head()).headers["x-poindexter-target"]
