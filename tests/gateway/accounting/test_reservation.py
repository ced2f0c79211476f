"""One object, one ending; and what is owed if nobody ends it."""

import asyncio
import json
from pathlib import Path

import pytest

from core.process.settings import Secret
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import GATEWAY_LOST, Outcome
from gateway.accounting.charge import Charge
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.accounting.reservation import AlreadyEnded, Reservation
from gateway.accounting.settlement import Settlement
from gateway.dialects.openai.stream import OpenAIStream
from gateway.spool.recent_endings import RecentEndings
from gateway.store.redis_pipeline import RedisPipeline
from tests.gateway.reserving import EVENT_ID, reservation_of
from tests.gateway.spool.test_spool import SCRIPTS, UnknownToPostgres, spool_in

CHARGE = Charge(TokenUsage(input=5), "")


@pytest.fixture
def reservation(tmp_path: Path) -> Reservation:
    """Of a request whose gateway has no connection to Redis: what it settles goes to the spool."""
    pipeline = RedisPipeline(Secret("redis://127.0.0.1:1"), SCRIPTS, reply_seconds=1.0)
    settlement = Settlement(
        pipeline,
        spool_in(tmp_path, pipeline),
        RecentEndings(pipeline),
        UnknownToPostgres(pipeline),
        OfflineAllowance(limit=0, memory=0),
        lease_ms=1_000,
    )
    return reservation_of(settlement, stream=True)


def stream(*events: object) -> OpenAIStream:
    progress = OpenAIStream(wants_usage=True)
    progress.feed(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events))
    return progress


def content(text: str, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


@pytest.mark.parametrize("second", ["settle", "release"])
async def test_a_second_ending_raises(reservation: Reservation, second: str) -> None:
    first = reservation.settle(CHARGE, Outcome.COMPLETE)

    with pytest.raises(AlreadyEnded, match=str(EVENT_ID)):
        await (reservation.release(499) if second == "release" else reservation.settle(CHARGE, Outcome.COMPLETE))
    assert not asyncio.ensure_future(first).done()  # It waits for the disk, which nobody writes here.


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
