"""The garbage collector stops the whole process for milliseconds: what it collects, every stream has waited for."""

import json

import pytest

from loadtests.load import Load, Target
from loadtests.load_generator import run
from tests.harness.installation import Installation
from tests.harness.running_gateway import RunningGateway

ENOUGH = 3_000
"""Requests: with a handful of lost objects each, the collector would have been called."""
COLLECTED = "python_gc_objects_collected_total"


@pytest.mark.parametrize(
    ("model", "stream"),
    [("gpt-4o-mini", False), ("gpt-4o-mini", True), ("nobody-has-this", False)],
    ids=["whole", "streamed", "refused"],
)
async def test_requests_leave_nothing_to_the_garbage_collector(
    gateway: RunningGateway, shared: Installation, model: str, stream: bool
) -> None:
    document = {"model": model, "messages": [{"role": "user", "content": "[[sim words=2]]"}], "stream": stream}
    customer = shared.customer(
        requests_per_minute=None, tokens_per_minute=None, concurrent_requests=None, cap_nano_usd=None
    )
    load = Load(
        targets=[Target("gateway", gateway.port)],
        key=customer.key,
        body=json.dumps(document),
        connections=4,  # Each run ends with clients that hang up, which costs a few objects: few ones.
        seconds=2.0,
        warm_up_seconds=0.1,
    )
    before, answered = gateway.metric(COLLECTED), 0

    while answered < ENOUGH:
        answered += (await run(load)).targets["gateway"].requests

    assert gateway.metric(COLLECTED) - before < answered / 10
