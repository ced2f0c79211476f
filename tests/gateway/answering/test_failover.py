"""From one upstream to the next, until one has begun to answer: who is asked how often, and what the rest costs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome
from gateway.answering import opening
from gateway.failure import Fault, UpstreamFailure
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.retry_policy import RetryPolicy
from gateway.upstreams.upstream import AttemptOutcome
from tests.gateway.accounting.bench import bench_on
from tests.gateway.answering.serving import (
    END,
    QUICK,
    Cue,
    Provider,
    Serving,
    ask,
    event,
    serving,
    stream_of,
    upstreams_at,
    whole,
)
from tests.gateway.canned import completion, pieces
from tests.gateway.outbound.peer import STREAM_HEAD, Call, peer
from tests.gateway.wire import Wire, wire
from tests.harness.waiting import until

REPORT = {"prompt_tokens": 7, "completion_tokens": 3}
REPORTED = TokenUsage(input=7, output=3)
LIKELY_INPUT = 20
"""Of every reservation of these tests."""
HELLO = whole(completion("Hello.", usage=REPORT))
STREAMED = stream_of(*pieces("Hello.", usage=REPORT))
ROLE = event({"id": "first", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
PAUSE_SECONDS = 0.5


def refusal(status: int, headers: bytes = b"", **error: Any) -> bytes:
    return whole({"error": {"message": "No.", **error}}, status=status, headers=headers)


async def hang_up(call: Call) -> None:
    call.close()
    await call.closed_by_client()
    raise ConnectionError


async def die_before_content(call: Call) -> None:
    await call.send(STREAM_HEAD + ROLE)
    await hang_up(call)


TRANSIENT = {
    "overloaded": refusal(529),
    "broken": refusal(500),
    "an error under 200": whole({"error": {"message": "No.", "type": "server_error"}}),
    "a connection that closes": hang_up,
}


@pytest.mark.parametrize("failure", TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_an_upstream_that_fails_in_passing_is_asked_once_more_and_answers(
    tmp_path: Path, redis_url: str, failure: Any
) -> None:
    first, second = Provider(failure, HELLO), Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, _ = await client.answer()

        booked = await gateway.recorded()
        assert (len(first.asked), len(second.asked)) == (2, 0)
        assert (head.status, head.headers["x-poindexter-attempts"]) == (200, "2")
        assert (booked.usage, booked.attempt, booked.target) == (REPORTED, 2, "p0/p0-m")


@pytest.mark.parametrize("failure", TRANSIENT.values(), ids=TRANSIENT.keys())
async def test_one_that_fails_twice_leaves_the_request_to_the_next(
    tmp_path: Path, redis_url: str, failure: Any
) -> None:
    first, second = Provider(failure), Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, _ = await client.answer()

        booked = await gateway.recorded()
        assert (len(first.asked), len(second.asked)) == (2, 1)
        assert (head.status, head.headers["x-poindexter-target"]) == (200, "p1/p1-m")
        assert (booked.usage, booked.attempt, booked.target) == (REPORTED, 3, "p1/p1-m")


LASTING = {
    "our account": refusal(401, code="invalid_api_key"),
    "a rate limit": refusal(429),
    "a whole answer that is none": whole(b"<html>"),
}


@pytest.mark.parametrize("failure", LASTING.values(), ids=LASTING.keys())
async def test_one_that_would_say_the_same_again_is_not_asked_again(
    tmp_path: Path, redis_url: str, failure: bytes
) -> None:
    """A whole answer may have been billed: never twice by the same upstream."""
    first, second = Provider(failure), Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, _ = await client.answer()

        assert (head.status, len(first.asked), len(second.asked)) == (200, 1, 1)


async def test_a_request_that_every_upstream_would_refuse_is_tried_once_and_costs_nothing(
    tmp_path: Path, redis_url: str
) -> None:
    first, second = Provider(refusal(400, type="invalid_request_error", param="top_p")), Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, error = await client.answer()

        booked = await gateway.recorded()
        assert (len(first.asked), len(second.asked)) == (1, 0)
        assert (head.status, error["error"]["param"]) == (400, "top_p")
        assert (booked.outcome, booked.status, booked.cost) == (Outcome.RELEASED, 400, 0)
        assert gateway.records[0].refusal == "upstream_refused"


async def test_when_all_have_failed_the_last_failure_is_told_and_nothing_is_charged(
    tmp_path: Path, redis_url: str
) -> None:
    first, second = Provider(refusal(500)), Provider(refusal(503))
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, error = await client.answer()

        booked = await gateway.recorded()
        assert (head.status, error["error"]["code"]) == (503, "upstream_overloaded")
        assert (booked.outcome, booked.status, booked.cost, booked.attempt) == (Outcome.RELEASED, 503, 0, 3)


async def test_where_nobody_can_be_asked_now_nothing_is_sent_and_nothing_charged(
    tmp_path: Path, redis_url: str
) -> None:
    provider = Provider(HELLO)
    async with bench_on(tmp_path, redis_url) as bench, peer(provider) as upstream:
        [target] = upstreams_at(upstream, breaker=CircuitBreaker(threshold=1))
        for account in (7, 8):
            failure = UpstreamFailure(Fault.UPSTREAM, 500, "No.")
            target.ended(target.take(account), AttemptOutcome.FAILED, failure)
        async with serving(bench, upstreams=[target]) as gateway, wire(gateway.port) as client:
            await client.send(ask())
            head, error = await client.answer()

            booked = await gateway.recorded()
            assert (head.status, error["error"]["code"]) == (503, "no_provider_available")
            assert (booked.outcome, booked.attempt, upstream.accepted) == (Outcome.RELEASED, 0, 0)


async def test_no_more_attempts_are_made_than_the_policy_allows(tmp_path: Path, redis_url: str) -> None:
    providers = [Provider(refusal(500)) for _ in range(3)]
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(providers[0]) as one,
        peer(providers[1]) as other,
        peer(providers[2]) as last,
        serving(bench, one, other, last, policy=RetryPolicy(base_delay=0.0, max_attempts=4)) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, _ = await client.answer()

        assert (head.status, [len(one.asked) for one in providers]) == (502, [2, 2, 0])


async def test_an_answer_that_is_too_large_is_charged_as_an_estimate_and_tried_nowhere_else(
    tmp_path: Path, redis_url: str
) -> None:
    """The provider bills it, and would bill as much once more."""
    first, second = Provider(whole(completion("x" * 10_000))), Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other, max_answer_bytes=200) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        head, error = await client.answer()

        booked = await gateway.recorded()
        assert (head.status, head.headers["x-should-retry"], len(second.asked)) == (502, "false", 0)
        assert "too large" in error["error"]["message"]
        assert (booked.outcome, booked.estimated, booked.status) == (Outcome.UPSTREAM_FAILED, "answer_too_large", 502)
        assert (booked.usage.input, booked.usage.output > 10) == (LIKELY_INPUT, True)


SILENT_STARTS: dict[str, Any] = {
    "an error event": STREAM_HEAD + ROLE + event({"error": {"message": "No.", "type": "server_error"}}) + END,
    "an end without content": STREAM_HEAD + ROLE + END,
    "a death": die_before_content,
    "no event at all": whole(b"<html>busy</html>"),
    "a compressed stream": whole(b"\x1f\x8b", headers=b"content-encoding: gzip\r\n"),
}


@pytest.mark.parametrize("start", SILENT_STARTS.values(), ids=SILENT_STARTS.keys())
async def test_a_stream_that_fails_before_its_first_content_is_another_upstreams(
    tmp_path: Path, redis_url: str, start: Any
) -> None:
    """And nothing of it reaches the client, or the bill."""
    first, second = Provider(start), Provider(STREAMED)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask(stream=True))
        head = await client.head()
        await client.read_past(b"data: [DONE]")

        booked = await gateway.recorded()
        assert head.headers["x-poindexter-target"] == "p1/p1-m"
        assert b'"first"' not in client.received
        assert (booked.usage, booked.target, booked.estimated) == (REPORTED, "p1/p1-m", "")


@pytest.mark.parametrize(
    ("limit", "noise"), [("MAX_SILENT_BYTES", b": nothing\n\n"), ("MAX_START_BYTES", b'data: {"choices": []}\n\n')]
)
async def test_a_stream_that_begins_without_end_and_without_content_is_no_answer(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, limit: str, noise: bytes
) -> None:
    monkeypatch.setattr(opening, limit, 1_000)

    async def chatter(call: Call) -> None:
        await call.send(STREAM_HEAD)
        while True:
            await call.send(b"%x\r\n%b\r\n" % (len(noise), noise))
            await asyncio.sleep(0)

    first, second = Provider(chatter), Provider(STREAMED)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask(stream=True))
        await client.read_past(b"data: [DONE]")

        assert (await gateway.recorded()).target == "p1/p1-m"


async def leave(gateway: Serving, client: Wire) -> None:
    await client.leave()


async def stop(gateway: Serving, client: Wire) -> None:
    await gateway.server.stop()


@pytest.mark.parametrize("end", [leave, stop])
async def test_a_request_that_is_stopped_between_two_attempts_pays_nothing_and_gets_no_other(
    tmp_path: Path, redis_url: str, end: Callable[[Serving, Wire], Awaitable[None]]
) -> None:
    """What was sent has failed."""
    wait = b"retry-after-ms: %d\r\n" % (PAUSE_SECONDS * 1000)
    provider = Provider(refusal(500, wait), HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(provider) as upstream,
        serving(bench, upstream) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        await until(lambda: gateway.transport.use(upstream.origin).idle == 1)
        await end(gateway, client)

        booked = await gateway.recorded()
        assert len(provider.asked) == 1
        assert (booked.outcome, booked.status, booked.cost) == (Outcome.RELEASED, 499, 0)


@pytest.mark.parametrize("end", [leave, stop])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_request_that_is_stopped_while_the_upstream_works_on_it_pays_its_input(
    tmp_path: Path, redis_url: str, end: Callable[[Serving, Wire], Awaitable[None]], stream: bool
) -> None:
    cue = Cue()

    async def think(call: Call) -> None:
        await cue.given.wait()

    provider = Provider(think)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(provider) as upstream,
        serving(bench, upstream) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask(stream=stream))
        await until(lambda: provider.asked)
        await end(gateway, client)

        booked = await gateway.recorded()
        cue.given.set()
        await until(lambda: upstream.open == 0)
        assert booked.usage == TokenUsage(input=LIKELY_INPUT)
        assert (booked.outcome, booked.status, booked.estimated) == (Outcome.CLIENT_GONE, 499, "client_gone")
        assert len(provider.asked) == 1


async def test_what_a_failed_stream_reported_is_no_part_of_the_next_attempts_estimate(
    tmp_path: Path, redis_url: str
) -> None:
    cue = Cue()

    async def think(call: Call) -> None:
        await cue.given.wait()

    reported = event({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 0}})
    first = Provider(STREAM_HEAD + reported + event({"error": {"message": "No.", "code": "invalid_api_key"}}) + END)
    second = Provider(think)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(first) as one,
        peer(second) as other,
        serving(bench, one, other) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask(stream=True))
        await until(lambda: second.asked)
        estimate = gateway.reservations[0].estimate()
        cue.given.set()

    assert estimate.usage == TokenUsage(input=LIKELY_INPUT)


async def test_a_client_that_leaves_before_anything_was_sent_pays_nothing(tmp_path: Path, redis_url: str) -> None:
    """It waits for its intent, because it was admitted on trust."""
    provider = Provider(HELLO)
    async with (
        bench_on(tmp_path, redis_url) as bench,
        peer(provider) as upstream,
        serving(bench, upstream, on_trust=True) as gateway,
        wire(gateway.port) as client,
    ):
        await client.send(ask())
        await until(lambda: gateway.reservations and gateway.reservations[0].attempt)
        sent_before_the_disk = upstream.accepted
        await client.leave()
        await until(lambda: gateway.clients[0].client_gone)
        await bench.spool.flush()

        booked = await gateway.recorded()
        assert (sent_before_the_disk, upstream.accepted) == (0, 0)
        assert (booked.outcome, booked.status) == (Outcome.RELEASED, 499)


async def test_what_the_disk_does_not_take_is_not_sent(tmp_path: Path, redis_url: str) -> None:
    provider = Provider(HELLO)
    async with bench_on(tmp_path, redis_url) as bench, peer(provider) as upstream:
        bench.break_disk()
        async with serving(bench, upstream, on_trust=True) as gateway, wire(gateway.port) as client:
            await client.send(ask())
            await until(lambda: gateway.reservations and gateway.reservations[0].attempt)
            await bench.spool.flush()
            head, error = await client.answer()

            assert (head.status, error["error"]["code"], upstream.accepted) == (503, "service_unavailable", 0)
            assert (await gateway.recorded()).outcome is Outcome.RELEASED


async def test_a_circuit_that_opens_meanwhile_ends_the_attempts_at_its_upstream(tmp_path: Path, redis_url: str) -> None:
    first, second = Provider(refusal(500)), Provider(HELLO)
    async with bench_on(tmp_path, redis_url) as bench, peer(first) as one, peer(second) as other:
        upstreams = upstreams_at(one, other, breaker=CircuitBreaker(threshold=1))
        async with serving(bench, upstreams=upstreams, policy=QUICK) as gateway, wire(gateway.port) as client:
            await client.send(ask())
            head, _ = await client.answer()

            assert (head.headers["x-poindexter-target"], len(first.asked)) == ("p1/p1-m", 1)
