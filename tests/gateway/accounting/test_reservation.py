"""One object, one ending; and what is owed if nobody ends it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from core.usage.token_usage import TokenUsage
from core.usage.usage_event import GATEWAY_LOST, Outcome
from gateway.accounting.charge import Charge
from gateway.accounting.reservation import AlreadyEnded, Reservation
from gateway.dialects.openai.stream import OpenAIStream
from gateway.errors import ClientGone, NoTargetAvailable, UpstreamRefused
from tests.gateway.accounting.bench import bench_on, settlement_without_redis
from tests.gateway.reserving import EVENT_ID, MODEL, PERIOD, reservation_of
from tests.harness.waiting import until

CHARGE = Charge(TokenUsage(input=5), "")
TARGET = MODEL.targets[0]


@pytest.fixture
def reservation(tmp_path: Path) -> Reservation:
    """Of a request whose gateway has no connection to Redis: what it settles goes to the spool."""
    return reservation_of(settlement_without_redis(tmp_path), stream=True)


def stream(*events: object) -> OpenAIStream:
    progress = OpenAIStream(wants_usage=True)
    progress.feed(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events))
    return progress


def content(text: str, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


ENDINGS: dict[str, Callable[[Reservation], Awaitable[None] | None]] = {
    "settle": lambda reservation: reservation.settle(CHARGE, Outcome.COMPLETE),
    "release": lambda reservation: reservation.release(499),
    "give back": lambda reservation: reservation.give_back(503),
}


@pytest.mark.parametrize("first", ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("second", ENDINGS.values(), ids=ENDINGS.keys())
async def test_a_second_ending_raises(
    reservation: Reservation,
    first: Callable[[Reservation], object],
    second: Callable[[Reservation], object],
) -> None:
    """Even while the first is on its way: it waits for the disk, which nobody writes here."""
    first(reservation)

    with pytest.raises(AlreadyEnded, match=str(EVENT_ID)):
        second(reservation)
    await reservation.fail(RuntimeError("after its end"))


def test_before_an_answer_the_input_is_owed(reservation: Reservation) -> None:
    estimate = reservation.estimate()

    assert (estimate.usage, estimate.estimated, estimate.outcome) == (TokenUsage(input=20), GATEWAY_LOST, Outcome.CUT)


def test_reasoning_that_was_reported_is_not_owed_a_second_time_as_output(reservation: Reservation) -> None:
    """B17: 110 tokens were recorded where 60 had been used."""
    usage = {"prompt_tokens": 30, "completion_tokens": 60, "completion_tokens_details": {"reasoning_tokens": 50}}
    reservation.progress = stream(content("x" * 40), content("", usage=usage))

    assert reservation.estimate().usage == TokenUsage(input=30, output=10, reasoning=50)


def test_an_estimate_never_exceeds_what_was_granted(reservation: Reservation) -> None:
    """B17: it had no bound."""
    reservation.progress = stream(*(content("word " * 200) for _ in range(10)))

    estimate = reservation.estimate()

    assert estimate.usage == TokenUsage(input=20, output=100)


def test_an_input_that_was_not_reported_is_owed_as_estimated(reservation: Reservation) -> None:
    """B17: it was left at 0."""
    reservation.progress = stream(content("hello"), content("", usage={"completion_tokens": 7}))

    assert reservation.estimate().usage == TokenUsage(input=20, output=7)


FAILURES = {
    "the client left": ClientGone(),
    "cancelled": asyncio.CancelledError(),
    "refused": UpstreamRefused(422, "No.", type="invalid_request_error", code=None),
    "no provider": NoTargetAvailable("None.", retry_after=1.0),
    "a bug": RuntimeError("ours"),
}
STATUSES = {"the client left": 499, "cancelled": 499, "refused": 422, "no provider": 503, "a bug": 500}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("sent", [False, True], ids=["before it was sent", "after it was sent"])
async def test_only_a_client_that_leaves_after_the_request_was_sent_pays_for_its_input(
    tmp_path: Path, redis_url: str, kind: str, sent: bool
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        reservation.sent = sent

        await reservation.fail(FAILURES[kind])

        [event] = await bench.recorded()
        if sent and STATUSES[kind] == 499:
            expected = TokenUsage(input=20), Outcome.CLIENT_GONE, "client_gone"
        else:
            expected = TokenUsage(), Outcome.RELEASED, ""
        assert (event.usage, event.outcome, event.estimated) == expected
        assert event.status == STATUSES[kind]


async def test_what_is_granted_without_a_connection_is_on_trust_and_leaves_an_intent_before_it_is_sent(
    tmp_path: Path, redis_url: str
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        trusted = reservation.on_trust
        reservation.grant(50, 10, PERIOD)

        dispatch = asyncio.create_task(reservation.dispatch(TARGET))
        await until(lambda: bench.spool.intended(str(EVENT_ID)))
        waits = not dispatch.done()
        await bench.spool.flush()
        await dispatch

        assert (trusted, reservation.on_trust, waits, bench.on_the_disk()) == (False, True, True, 1)
        assert reservation.max_output == 50 * reservation.choices


async def test_a_second_attempt_needs_no_second_intent(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation(on_trust=True)
        first = asyncio.create_task(reservation.dispatch(TARGET))
        await until(lambda: bench.spool.intended(str(EVENT_ID)))
        await bench.spool.flush()
        await first

        await reservation.dispatch(TARGET)
        await bench.spool.flush()

        assert (reservation.attempt, bench.on_the_disk()) == (2, 1)


async def test_a_tier_without_a_price_is_charged_as_usual_and_marked(reservation: Reservation) -> None:
    reservation.settle(CHARGE, Outcome.COMPLETE, service_tier="priority")

    assert reservation.settled is not None
    assert reservation.settled.estimated == "service_tier_unpriced"
    assert reservation.settled.cost == MODEL.prices.cost(CHARGE.usage, "", "")
