"""
S16 = E2, E6: a wrong usage report of an upstream is replaced, marked and bounded, in both schemas, streamed or not.

Real gateway, canned upstream. "hi" is one token or two; the request asks for at most 100.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.canned import CannedUpstream, canned_upstream, completion, message, pieces
from tests.harness.installation import Booked, Customer, Installation
from tests.harness.running_gateway import RunningGateway

MODELS = """
[providers.oa]
schema = "openai"
base_url = "{url}/v1"
api_key = "sk-sim"

[providers.an]
schema = "anthropic"
base_url = "{url}"
api_key = "sk-sim"

[models.oa]
context_tokens = 128_000
max_output_tokens = 16_384
price = {{ input = "2.00", cache_read = "0.20", output = "8.00" }}
targets = [{{ provider = "oa", model = "m" }}]

[models.an]
context_tokens = 200_000
max_output_tokens = 64_000
price = {{ input = "3.00", cache_read = "0.30", output = "15.00" }}
targets = [{{ provider = "an", model = "claude-haiku-4-5" }}]
"""
HUGE = 10**30


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedUpstream]:
    with canned_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def strange(shared: Installation, canned: CannedUpstream) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway(models=MODELS.format(url=canned.url))
    yield gateway
    gateway.stop()


def booked(gateway: RunningGateway, shared: Installation, customer: Customer, model: str, *, stream: bool) -> Booked:
    body = {"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{gateway.openai_url}/chat/completions", json=body, headers=customer.headers)
    assert answer.status_code == 200
    [event] = shared.wait_events(customer, 1)
    shared.assert_nothing_held()
    return event


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "flaw", "output"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 1_000_000_000}, "completion_tokens_huge", range(1, 6)),
        ({"prompt_tokens": HUGE, "completion_tokens": HUGE}, "prompt_tokens_huge", range(1, 6)),
        ({"prompt_tokens": 10, "completion_tokens": 5_000_000}, "output_exceeds_grant", [100]),
        ({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 100_000}, "total_exceeds_sum", [100]),
        ({"prompt_tokens": 900_000, "completion_tokens": 2}, "input_exceeds_request", [2]),
        ({"prompt_tokens": 60_000, "completion_tokens": 2}, "input_exceeds_request", [2]),
        ({"prompt_tokens": -5, "completion_tokens": 2}, "prompt_tokens_invalid", range(2, 6)),
        ({"prompt_tokens": 10, "completion_tokens": 2.5}, "completion_tokens_invalid", range(1, 6)),
        ({"prompt_tokens": 10}, "output_missing", range(1, 6)),
        ({"completion_tokens": 3}, "input_missing", range(3, 6)),
        ({"total_tokens": 120}, "no_usage_reported", range(1, 6)),
        ({}, "no_usage_reported", range(1, 6)),
        (None, "no_usage_reported", range(1, 6)),
    ],
)
def test_a_flawed_openai_report_is_marked_and_charges_no_more_than_the_request_explains(
    strange: RunningGateway,
    shared: Installation,
    canned: CannedUpstream,
    customer: Customer,
    usage: dict[str, Any] | None,
    flaw: str,
    output: range,
    stream: bool,
) -> None:
    if stream:
        canned.stream(*pieces("h", "i", usage=usage))
    else:
        canned.answer(completion("hi", usage=usage))

    event = booked(strange, shared, customer, "oa", stream=stream).event

    assert event.estimated == flaw
    assert event.usage.completion in output
    assert 3 <= event.usage.prompt <= 100
    assert event.cost <= 100 * 2_000 + 100 * 8_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "most_output"),
    [
        ({"input_tokens": 10, "output_tokens": 1_000_000_000}, 5),
        ({"input_tokens": 10, "output_tokens": 5_000_000}, 100),
        ({"input_tokens": HUGE, "output_tokens": 2}, 5),
        ({"input_tokens": 900_000, "output_tokens": 2}, 5),
        ({"input_tokens": 10, "cache_read_input_tokens": 900_000, "output_tokens": 2}, 5),
        ({"input_tokens": 10}, 5),
        ({}, 5),
    ],
)
def test_a_flawed_anthropic_report_is_marked_and_charges_no_more_than_the_request_explains(
    strange: RunningGateway,
    shared: Installation,
    canned: CannedUpstream,
    customer: Customer,
    usage: dict[str, Any],
    most_output: int,
    stream: bool,
) -> None:
    if stream:
        canned.answer(_events(usage), kind="text/event-stream")
    else:
        canned.answer(message("hi", usage=usage))

    event = booked(strange, shared, customer, "an", stream=stream).event

    assert event.estimated
    assert 1 <= event.usage.completion <= most_output
    assert 3 <= event.usage.prompt <= 100


def test_e21_what_anthropic_counts_after_the_end_counts(
    strange: RunningGateway, shared: Installation, canned: CannedUpstream, customer: Customer
) -> None:
    events = _events({"input_tokens": 10})
    late = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":7}}\n\n'
    canned.answer(events + late, kind="text/event-stream")

    event = booked(strange, shared, customer, "an", stream=True).event

    assert (event.usage.prompt, event.usage.completion, event.estimated) == (10, 7, "")


@pytest.mark.parametrize("stream", [False, True])
def test_e19_an_answer_that_ends_for_an_unknown_reason_is_counted_and_logged(
    strange: RunningGateway, shared: Installation, canned: CannedUpstream, customer: Customer, stream: bool
) -> None:
    before = strange.metric("poindexter_unusual_answers_total")
    usage = {"input_tokens": 10, "output_tokens": 2}
    events = _events(usage).replace(b'"end_turn"}, "usage"', b'"brand_new"}, "usage"')
    if stream:
        canned.answer(events, kind="text/event-stream")
    else:
        canned.answer(message("hi", usage=usage, stop_reason="brand_new"))

    event = booked(strange, shared, customer, "an", stream=stream).event

    assert event.estimated == ""
    assert strange.metric("poindexter_unusual_answers_total") == before + 1
    assert any(line.get("what") == "stop_reason brand_new" for line in strange.log_lines())


def test_a_wrong_number_leaves_the_customers_minute_and_cap_to_the_next_request(
    strange: RunningGateway, shared: Installation, canned: CannedUpstream
) -> None:
    customer = shared.customer(cap_nano_usd=50 * 10**9, tokens_per_minute=10_000)
    canned.answer(message("hi", usage={"input_tokens": 10, "output_tokens": 10**9}))

    for asked in range(1, 4):
        body = {"model": "an", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(f"{strange.openai_url}/chat/completions", json=body, headers=customer.headers)
        assert answer.status_code == 200
        shared.wait_events(customer, asked)

    assert shared.spent(customer) < 10**7
    assert strange.metric("poindexter_estimated_events_total", reason="output_tokens_huge") >= 3
    assert strange.metric("poindexter_flawed_usage_reports_total") >= 3


def _events(usage: dict[str, Any]) -> bytes:
    start = {"type": "message_start", "message": message(usage={**usage, "output_tokens": 1}, content=[])}
    events: list[dict[str, Any]] = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(_event(event) for event in events)


def _event(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
