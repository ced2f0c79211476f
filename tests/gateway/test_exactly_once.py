"""
However a request ends, it leaves exactly one usage event, or none when nothing was served, and holds nothing back.

The truth is the simulated provider's own record. docs/failures.md lists the ids, such as F18.
"""

import json
import time
from typing import Any

import pytest

from core.usage.usage_event import Outcome
from tests.gateway.served import booked_once, record_of, usage_of
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Booked, Customer, Installation
from tests.harness.models_text import FreshModels
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import eventually

KINDS = ["openai", "anthropic"]
DONE = b"data: [DONE]"


class Counter:
    """Where a test's customer pays, and what must be true when all is over."""

    def __init__(
        self,
        gateway: RunningGateway,
        shared: Installation,
        upstream: SimulatedUpstream,
        models: FreshModels,
        customer: Customer,
    ) -> None:
        self.gateway = gateway
        self.shared = shared
        self.upstream = upstream
        self.models = models
        self.customer = customer

    def ask(self, kind: str, directive: str, *, stream: bool = True, **more: Any) -> bytes:
        model = self.models.take(kind)
        return chat(self.customer, f"[[sim {directive}]]", model=model, stream=stream, **more)

    @property
    def at_the_upstream(self) -> bool:
        """A request that has not ended has arrived at an upstream."""
        names = self.shared.redis.scan_iter("*:reservation:*", count=10_000)
        event_ids = [name.decode().rpartition(":")[2] for name in names]
        return any(self.upstream.begun(client_request_id=event_id) for event_id in event_ids)

    def one_event(self) -> Booked:
        [booked] = self.shared.wait_events(self.customer, 1)
        self.shared.assert_nothing_held()
        return booked

    def no_event(self) -> None:
        self.shared.assert_nothing_held()
        assert self.shared.events(self.customer) == []
        assert self.shared.spent(self.customer) == 0


@pytest.fixture
def counter(
    gateway: RunningGateway,
    shared: Installation,
    upstream: SimulatedUpstream,
    fresh_models: FreshModels,
    customer: Customer,
) -> Counter:
    return Counter(gateway, shared, upstream, fresh_models, customer)


async def leave_an_idle_connection(counter: Counter, kind: str) -> None:
    """To the upstream, so that the next request is with it as soon as it is sent."""
    neighbour = counter.shared.customer()
    async with wire(counter.gateway.port) as client:
        await client.send(chat(neighbour, "Hello", model=counter.models.take(kind)))
        await client.answer()


def error_in(body: bytes) -> dict[str, Any]:
    """The error event that ends a broken stream."""
    last = body.strip().splitlines()
    events = [line for line in last if line.startswith(b"data: ")]
    error: dict[str, Any] = json.loads(events[-1].removeprefix(b"data: "))["error"]
    return error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("chunks", [0, 1, 5])
async def test_a_client_that_leaves_pays_for_what_was_delivered(
    counter: Counter, kind: str, chunks: int, reset: bool
) -> None:
    """F1, F4, F20, F24"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, "words=400 pause_ms=20"))
        await client.head()
        await client.read_past(CONTENT, chunks)
        await client.leave(reset=reset)
        booked = counter.one_event()

    record = record_of(counter.upstream, booked)
    assert (booked.event.outcome, booked.event.estimated) == (Outcome.CLIENT_GONE, "client_gone")
    assert chunks <= booked.event.usage.output <= record["output_tokens"] + 2
    assert record["outcome"] == "client_gone"  # The upstream was stopped at once (F21, F46).
    assert record["output_tokens"] < 100
    assert booked.charged == booked.event.cost > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_before_the_answer_pays_for_its_input(
    counter: Counter, kind: str, stream: bool
) -> None:
    """F2, F46"""
    async with wire(counter.gateway.port) as client:
        await leave_an_idle_connection(counter, kind)
        await client.send(counter.ask(kind, "first_byte_ms=4000 words=9", stream=stream))
        eventually(lambda: counter.at_the_upstream, "request at the upstream")
        await client.leave()
        left = time.monotonic()
        booked = counter.one_event()

    record = record_of(counter.upstream, booked)
    assert (booked.event.outcome, booked.event.status) == (Outcome.CLIENT_GONE, 499)
    assert booked.event.usage.input > 0
    assert booked.event.usage.completion == 0
    assert (record["outcome"], record["output_tokens"]) == ("client_gone", 0)
    assert time.monotonic() - left < 2.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("glue", [0, 1], ids=["apart", "in one write"])
async def test_a_client_that_leaves_on_the_last_event_pays_what_was_reported(
    counter: Counter, kind: str, glue: int
) -> None:
    """F18: the SDK closes the connection as soon as it has read [DONE]."""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, f"words=8 glue={glue}"))
        await client.head()
        await client.read_past(DONE)
        await client.leave()

    [booked] = booked_once(counter.shared, counter.upstream, counter.customer)
    assert (booked.event.outcome, booked.event.estimated) == (Outcome.COMPLETE, "")
    counter.shared.assert_nothing_held()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_leaves_while_the_upstream_is_silent_is_noticed(counter: Counter, kind: str) -> None:
    """F72"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, "words=9 stall=stream after=2"))
        await client.head()
        await client.read_past(CONTENT, 2)
        await client.leave()
        left = time.monotonic()
        booked = counter.one_event()

    assert time.monotonic() - left < 2.0
    assert booked.event.outcome == Outcome.CLIENT_GONE
    assert record_of(counter.upstream, booked)["outcome"] == "client_gone"


async def test_a_client_that_leaves_in_its_own_body_owes_nothing(counter: Counter) -> None:
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask("openai", "words=9")[:-20])
        await client.leave()

    counter.no_event()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "fault",
    ["status=500", "status=429 retry_after=30", "status=401", "cut=before_head", "garbage=http", "garbage=json"],
)
async def test_an_answer_from_the_second_target_is_booked_once(counter: Counter, fault: str, stream: bool) -> None:
    """F14"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask("both", f"words=5 {fault} model=openai", stream=stream))
        head = await client.head()

        assert head.status == 200
        assert head.headers["x-poindexter-target"] == "anthropic/claude-haiku-4-5"
    [booked] = booked_once(counter.shared, counter.upstream, counter.customer)
    assert booked.event.provider == "anthropic"
    assert 2 <= booked.event.attempt <= 3
    counter.shared.assert_nothing_held()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_event_before_the_first_content_goes_to_the_next_target(counter: Counter, kind: str) -> None:
    """F45"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask("both", "words=5 error_event=start model=openai"))
        await client.head()
        await client.read_past(DONE)

    assert CONTENT in client.received
    booked = counter.one_event()
    assert (booked.event.provider, booked.event.usage.output) == ("anthropic", 5)


async def test_a_target_where_nobody_listens_is_passed_over(counter: Counter) -> None:
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask("dead", "words=5", stream=False))
        head, _ = await client.answer()

    assert head.headers["x-poindexter-target"] == "openai/gpt-4o-mini"
    booked_once(counter.shared, counter.upstream, counter.customer)
    counter.shared.assert_nothing_held()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [("status=500", 502), ("status=400", 400), ("cut=before_head", 502), ("garbage=http", 502), ("garbage=json", 502)],
)
async def test_a_request_that_nobody_answered_costs_nothing(
    counter: Counter, kind: str, fault: str, status: int, stream: bool
) -> None:
    """F22, F23"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, f"words=5 {fault}", stream=stream))
        head, body = await client.answer()

    assert head.status == status
    assert set(body["error"]) == {"message", "type", "param", "code"}
    counter.no_event()


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, fault) for kind in KINDS for fault in ("cut=reset", "cut=fin", "cut=eof", "error_event=mid")),
        ("anthropic", "garbage=sse"),
    ],
)
async def test_an_upstream_that_dies_in_the_middle_is_an_error_and_no_end(
    counter: Counter, kind: str, fault: str
) -> None:
    """F56, F70, F71"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, f"words=40 pause_ms=2 {fault} after=3"))
        await client.head()
        await client.read_past(b'"error"')

    assert DONE not in client.received
    assert error_in(client.received)["type"] == "api_error"
    booked = counter.one_event()
    assert booked.event.outcome == Outcome.UPSTREAM_FAILED
    assert booked.event.estimated == "upstream_failed"
    assert 3 <= booked.event.usage.output <= 5


async def test_a_broken_event_of_an_upstream_in_the_clients_own_schema_is_passed_on_as_it_came(
    counter: Counter,
) -> None:
    """Bytes that need no translation pass unchanged; the client's own parser reports what is wrong with them."""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask("openai", "words=9 garbage=sse after=3"))
        await client.head()
        await client.read_past(DONE)

    assert b'"chatcmpl-broken"' in client.received
    booked_once(counter.shared, counter.upstream, counter.customer)
    counter.shared.assert_nothing_held()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_upstream_that_reports_no_usage_is_counted_and_marked(
    counter: Counter, kind: str, stream: bool
) -> None:
    """F22, F54, F55"""
    text = " ".join(["abc"] * 30)  # With its blank, each word is four bytes: one token by anybody's count.

    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, f'text="{text}" usage=none', stream=stream))
        await client.head()
        await client.read_past(DONE if stream else b"}", 1)
        booked = counter.one_event()

    record = usage_of(record_of(counter.upstream, booked))
    assert booked.event.estimated
    assert booked.event.outcome == Outcome.COMPLETE
    assert 30 <= booked.event.usage.output <= 33
    assert record.input / 2 <= booked.event.usage.input <= record.input * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_explicit_zero_is_a_value(counter: Counter, kind: str, stream: bool) -> None:
    """F5"""
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, "words=9 usage=zero", stream=stream))
        await client.head()
        await client.read_past(DONE if stream else b"}", 1)
        booked = counter.one_event()

    assert booked.event.usage.total == booked.charged == 0
    assert booked.event.estimated == ""


@pytest.mark.parametrize("kind", ["hurried", "hurried-claude"])
async def test_a_stream_that_never_begins_is_a_time_out_and_costs_nothing(counter: Counter, kind: str) -> None:
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, "stall=before_head"))
        head, body = await client.answer()

    assert (head.status, body["error"]["code"]) == (504, "upstream_timeout")
    counter.no_event()


@pytest.mark.parametrize("kind", ["hurried", "hurried-claude"])
@pytest.mark.parametrize("fault", ["words=9 stall=stream after=3", "words=400 pause_ms=50"], ids=["idle", "total"])
async def test_a_stream_that_stops_or_never_ends_is_cut_and_paid_up_to_there(
    counter: Counter, kind: str, fault: str
) -> None:
    async with wire(counter.gateway.port) as client:
        await client.send(counter.ask(kind, fault))
        await client.head()
        await client.read_past(b'"error"')

    assert DONE not in client.received
    booked = counter.one_event()
    assert booked.event.outcome == Outcome.UPSTREAM_FAILED
    assert 3 <= booked.event.usage.output <= 50
    assert record_of(counter.upstream, booked)["outcome"] == "client_gone"  # The upstream was stopped.


async def test_hang_ups_are_no_fault_of_the_upstream(counter: Counter) -> None:
    """F58: twice as many hang-ups as failures that would open the circuit."""
    model = counter.models.take("openai")
    others = counter.gateway.metric("poindexter_circuits_open")
    for _ in range(10):
        async with wire(counter.gateway.port) as client:
            await client.send(chat(counter.customer, "[[sim words=90 pause_ms=10]]", model=model, stream=True))
            await client.read_past(CONTENT)

    async with wire(counter.gateway.port) as client:
        await client.send(chat(counter.customer, "[[sim words=3]]", model=model))
        head, _ = await client.answer()

    assert head.status == 200
    assert len(counter.shared.wait_events(counter.customer, 11)) == 11
    assert counter.gateway.metric("poindexter_circuits_open") == others
    counter.shared.assert_nothing_held()


async def test_a_pipelined_second_request_is_booked_as_well(counter: Counter) -> None:
    two = counter.ask("openai", "words=3", stream=False) + counter.ask("openai", "words=4", stream=False)

    async with wire(counter.gateway.port) as client:
        await client.send(two)
        first, second = await client.answer(), await client.answer()

    assert [len(body["choices"][0]["message"]["content"].split()) for _, body in (first, second)] == [3, 4]
    booked_once(counter.shared, counter.upstream, counter.customer, 2)
    counter.shared.assert_nothing_held()
