"""A models file on its way into a running gateway: what is approved can be used, what can't be used ends nothing."""

import asyncio
import json
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from core.models.models_file import ModelsFile, ModelsFileError
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.upstream import Places, Upstream
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Installation
from tests.harness.models_text import models_text
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere

MODEL = """
[models.m]
context_tokens = 1000
max_output_tokens = 1000
price = { input = "1", output = "1" }
targets = [{ provider = %s, model = %s }]
"""
PROVIDER = """
[providers.%s]
schema = "%s"
base_url = %s
api_key = %s
headers = { %s = %s }
"""
TEXTS = some.text(max_size=12) | some.sampled_from(["host", "x-a", "x-api-key", "a b", "a\r\nb", "é"])
URLS = some.builds(
    "{}://{}{}{}".format,
    some.sampled_from(["http", "https", "HTTP", "ftp", ""]),
    some.sampled_from(["h", "h:1", "h:0", "h:99999", "[::1]", "[::1", "u@h", "@h", "ö", "a b", "", "h\\"]) | TEXTS,
    some.sampled_from(["", "/", "/v1", "/a b", "/é", "//"]) | TEXTS,
    some.sampled_from(["", "?", "#", "?a=b"]),
)


def rewrite(installation: Installation, text: str) -> None:
    installation.models_file.write_text(text)


def quoted(text: str) -> str:
    return json.dumps(text)


@given(
    name=TEXTS,
    schema=some.sampled_from(["openai", "anthropic"]),
    url=URLS,
    key=TEXTS,
    header=TEXTS,
    value=TEXTS,
    upstream_model=TEXTS,
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_the_check_approves_can_be_used(
    name: str, schema: str, url: str, key: str, header: str, value: str, upstream_model: str
) -> None:
    """S1: one validation, whoever asks."""
    text = PROVIDER % (quoted(name), schema, quoted(url), quoted(key), quoted(header), quoted(value))
    text += MODEL % (quoted(name), quoted(upstream_model))
    try:
        file = ModelsFile.parse(text, {})
    except ModelsFileError:
        return
    for target in file.models["m"].targets:
        Upstream(target, Places(0), connect_seconds=1.0, breaker=CircuitBreaker())


@pytest.mark.parametrize(
    "mistake",
    ['headers = { "content-length" = "3" }', 'headers = { "x" = "a\\r\\nb" }', "x = " + "[" * 100_000],
    ids=["our own header", "line break", "nested too deeply"],
)
async def test_a_file_that_can_not_be_used_leaves_the_gateway_and_its_streams_alone(
    installation: Installation, upstream: SimulatedUpstream, mistake: str
) -> None:
    """S1"""
    good = models_text(upstream.openai_url, upstream.anthropic_url)
    gateway, customer = installation.start_gateway(), installation.customer()
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=300 pause_ms=10]]", stream=True))
        await client.read_past(CONTENT)

        rewrite(installation, good.replace("[providers.openai]", f"[providers.openai]\n{mistake}"))
        gateway.signal(signal.SIGHUP)
        await until_elsewhere(lambda: gateway.metric("poindexter_models_file_valid") == 0, "a refused models file")
        await client.read_past(b"[DONE]")

    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim words=2]]"))
        assert (await client.head()).status == 200
    assert gateway.process.poll() is None


async def test_a_reload_under_load_fails_no_request(installation: Installation, upstream: SimulatedUpstream) -> None:
    """S18, B8: each request keeps the model and the upstreams it was admitted for, whatever becomes of the file."""
    gateway, customer = installation.start_gateway(), installation.customer(requests_per_minute=None)
    good = models_text(upstream.openai_url, upstream.anthropic_url)
    statuses: list[int] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            async with wire(gateway.port) as client:
                await client.send(chat(customer, "[[sim words=2]]"))
                statuses.append((await client.head()).status)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    number = 0
    while len(statuses) < 60:
        number += 1
        rewrite(installation, good.replace("sk-sim-openai", f"sk-sim-openai-{number}"))
        gateway.signal(signal.SIGHUP)
        await asyncio.sleep(0.03)  # Several files for each request, on any machine.
    done.set()
    await asyncio.gather(*asking)

    assert set(statuses) == {200}
    assert number > 5


async def test_the_gauge_of_a_target_that_is_gone_says_nothing_any_more(
    installation: Installation, upstream: SimulatedUpstream
) -> None:
    """B8: an alert about a target that nobody can find in the file."""
    gateway, customer = installation.start_gateway(), installation.customer()
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "[[sim status=401 code=invalid_api_key]]", model="gpt-5-mini"))
        await client.head()
    assert gateway.metric("poindexter_circuits_open", target="openai/gpt-5-mini") == 1

    good = models_text(upstream.openai_url, upstream.anthropic_url)
    rewrite(installation, good.replace('model = "gpt-5-mini"', 'model = "gpt-5"'))
    gateway.signal(signal.SIGHUP)

    await until_elsewhere(
        lambda: gateway.metric("poindexter_circuits_open", target="openai/gpt-5-mini") == 0,
        "a gauge of nothing",
    )
