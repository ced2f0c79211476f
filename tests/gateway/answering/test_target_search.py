"""Who is asked next, and what a client is told when nobody has answered."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.models.models_file import ModelsFile
from gateway.accounting.reservation import Reservation
from gateway.answering.target_search import TargetSearch
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.errors import InvalidRequest, NoTargetAvailable, UpstreamFailed, UpstreamRateLimited, UpstreamRefused
from gateway.failure import Fault, UpstreamFailure
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.upstream import AttemptOutcome, Places, Upstream
from tests.gateway.accounting.bench import settlement_without_redis
from tests.gateway.reserving import reservation_of

MODELS = """
[providers.o]
schema = "openai"
base_url = "http://127.0.0.1:1/v1"
api_key = "x"
[providers.a]
schema = "anthropic"
base_url = "http://127.0.0.1:1/v1"
api_key = "x"
[models.m]
context_tokens = 10_000
max_output_tokens = 2_000
price = { input = "1.00", output = "5.00" }
targets = [
    { provider = "o", model = "first" },
    { provider = "o", model = "second", priority = 1 },
    { provider = "a", model = "claude", priority = 2 },
]
"""
TARGETS = ModelsFile.parse(MODELS, {}).models["m"].targets
FIRST, SECOND, CLAUDE = range(3)
OF_OPENAI_ONLY: dict[str, Any] = {"logit_bias": {"50256": -100}, "logprobs": True, "n": 2}
"""Anthropic has no words for these."""


@pytest.fixture
def reservation(tmp_path: Path) -> Reservation:
    return reservation_of(settlement_without_redis(tmp_path))


@pytest.fixture
def upstreams() -> list[Upstream]:
    return [Upstream(target, Places(1), connect_seconds=1.0, breaker=CircuitBreaker(threshold=1)) for target in TARGETS]


def chat(**more: Any) -> GenerationRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
    return parse_chat(json.dumps(document).encode())


def failed(fault: Fault, status: int = 500, **more: Any) -> UpstreamFailure:
    return UpstreamFailure(fault, status, "It says why.", **more)


def fails(search: TargetSearch, failure: UpstreamFailure, *, with_state: bool = False) -> Upstream:
    """The next target is asked, and does. `with_state`: its circuit and its pause take notice."""
    attempt = search.next()
    assert attempt is not None
    attempt.upstream.ended(attempt.permit, AttemptOutcome.FAILED, failure if with_state else None)
    search.note(attempt.upstream, failure)
    return attempt.upstream


def paused(upstream: Upstream, seconds: float) -> None:
    """At its provider's rate limit, for the account of these tests."""
    failure = failed(Fault.RATE, 429, retry_after=seconds)
    upstream.ended(upstream.take(7), AttemptOutcome.FAILED, failure)


def opened(upstream: Upstream) -> None:
    """Its circuit is open, for everybody."""
    for account in (7, 8):
        upstream.ended(upstream.take(account), AttemptOutcome.FAILED, failed(Fault.UPSTREAM))


def test_targets_are_asked_in_their_order_and_each_once(reservation: Reservation, upstreams: list[Upstream]) -> None:
    search = TargetSearch(chat(), reservation, upstreams)

    asked = [fails(search, failed(Fault.UPSTREAM)).target.model for _ in upstreams]

    assert asked == ["first", "second", "claude"]
    assert search.next() is None


def test_an_attempt_has_the_targets_own_body_and_a_place(reservation: Reservation, upstreams: list[Upstream]) -> None:
    search = TargetSearch(chat(), reservation, upstreams)

    attempt = search.next()

    assert attempt is not None
    document = json.loads(attempt.body)
    assert (document["model"], document["max_completion_tokens"]) == ("first", reservation.granted_output)
    assert upstreams[FIRST].obstacle(7) is not None
    assert search.take(upstreams[FIRST]) is None


def test_what_cannot_be_asked_now_is_passed_over(reservation: Reservation, upstreams: list[Upstream]) -> None:
    search = TargetSearch(chat(), reservation, upstreams)
    opened(upstreams[FIRST])
    paused(upstreams[SECOND], 5.0)

    attempt = search.next()

    assert attempt is not None
    assert attempt.upstream is upstreams[CLAUDE]
    assert not search.another_available()


def test_a_target_that_cannot_say_the_request_is_never_attempted(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    search = TargetSearch(chat(**OF_OPENAI_ONLY), reservation, upstreams)
    fails(search, failed(Fault.UPSTREAM))

    assert search.another_available()
    fails(search, failed(Fault.UPSTREAM))

    assert not search.another_available()
    assert search.next() is None


def test_a_request_that_no_target_can_say_names_the_reason(reservation: Reservation, upstreams: list[Upstream]) -> None:
    search = TargetSearch(chat(**OF_OPENAI_ONLY), reservation, [upstreams[CLAUDE]])

    assert search.next() is None
    assert isinstance(search.error(), InvalidRequest)


def test_a_target_that_does_not_speak_the_clients_api_is_never_attempted(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    search = TargetSearch(replace(chat(), api="of the future"), reservation, upstreams[:2])

    assert search.next() is None
    with pytest.raises(InvalidRequest, match="its provider speaks openai"):
        raise search.error()


def test_a_target_that_is_held_up_but_can_say_it_counts_for_more_than_one_that_cannot(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    search = TargetSearch(chat(**OF_OPENAI_ONLY), reservation, [upstreams[CLAUDE], upstreams[FIRST]])
    opened(upstreams[FIRST])

    assert search.next() is None
    assert isinstance(search.error(), NoTargetAvailable)


def test_when_all_are_held_up_the_one_that_comes_back_first_names_the_reason(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    opened(upstreams[FIRST])
    paused(upstreams[SECOND], 2.0)
    upstreams[CLAUDE].take(7)
    paused_only = TargetSearch(chat(), reservation, upstreams[:2])
    full_too = TargetSearch(chat(), reservation, upstreams)

    limited, unavailable = paused_only.error(), full_too.error()

    assert isinstance(limited, UpstreamRateLimited)
    assert limited.retry_after == pytest.approx(2.0, abs=0.5)
    assert isinstance(unavailable, NoTargetAvailable)
    assert (unavailable.retry_after, "'m'" in unavailable.message) == (1.0, True)


def test_the_last_failure_is_told(reservation: Reservation, upstreams: list[Upstream]) -> None:
    search = TargetSearch(chat(), reservation, upstreams[:2])
    first = fails(search, failed(Fault.RATE, 429))
    fails(search, failed(Fault.UPSTREAM))

    last = search.error()
    search.note(first, failed(Fault.RATE, 429))
    once_more = search.error()

    assert (type(last), type(once_more)) == (UpstreamFailed, UpstreamRateLimited)


@pytest.mark.parametrize("fault", [Fault.ACCOUNT, Fault.RATE, Fault.UPSTREAM, Fault.TIMEOUT])
def test_a_refusal_of_another_kind_of_target_hides_no_failure_that_may_pass(
    reservation: Reservation, upstreams: list[Upstream], fault: Fault
) -> None:
    """The request was made for the first: what only that one understands is a mistake to a fallback."""
    search = TargetSearch(chat(), reservation, [upstreams[FIRST], upstreams[CLAUDE]])
    fails(search, failed(fault))
    fails(search, failed(Fault.REQUEST, 400))

    assert not isinstance(search.error(), UpstreamRefused)


@pytest.mark.parametrize("fault", [Fault.UNCLEAR, Fault.GARBAGE, Fault.REQUEST])
def test_a_refusal_stands_where_the_failure_before_it_will_not_pass(
    reservation: Reservation, upstreams: list[Upstream], fault: Fault
) -> None:
    search = TargetSearch(chat(), reservation, [upstreams[FIRST], upstreams[CLAUDE]])
    fails(search, failed(fault))
    fails(search, failed(Fault.REQUEST, 400))

    assert isinstance(search.error(), UpstreamRefused)


def test_a_refusal_stands_where_the_target_that_failed_is_of_the_same_kind(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    """It would have refused the request as well."""
    twin = Upstream(TARGETS[FIRST], Places(0), connect_seconds=1.0, breaker=CircuitBreaker())
    search = TargetSearch(chat(), reservation, [upstreams[FIRST], twin])
    fails(search, failed(Fault.UPSTREAM))
    fails(search, failed(Fault.REQUEST, 400))

    assert isinstance(search.error(), UpstreamRefused)


def test_a_refusal_is_not_the_last_word_while_the_target_it_was_made_for_is_held_up(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    paused(upstreams[FIRST], 3.0)
    search = TargetSearch(chat(), reservation, [upstreams[FIRST], upstreams[CLAUDE]])
    fails(search, failed(Fault.REQUEST, 400))

    assert isinstance(search.error(), UpstreamRateLimited)


def test_targets_that_have_come_back_since_are_worth_another_request(
    reservation: Reservation, upstreams: list[Upstream]
) -> None:
    permit = upstreams[FIRST].take(7)
    search = TargetSearch(chat(), reservation, upstreams[:1])
    nobody = search.next()
    upstreams[FIRST].ended(permit, AttemptOutcome.OK)

    error = search.error()

    assert nobody is None
    assert isinstance(error, NoTargetAvailable)
