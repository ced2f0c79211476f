"""What is done after a failed attempt, as a table."""

import pytest

from gateway.failure import Fault, UpstreamFailure
from gateway.upstreams.retry_policy import Decision, GiveUp, RetryPolicy, RetrySameUpstream, TryNextUpstream

POLICY = RetryPolicy(attempts_per_upstream=2, max_attempts=4, max_seconds=10.0, base_delay=0.2, max_delay=2.0)
STAY, NEXT, GIVE_UP = RetrySameUpstream(delay=0.1), TryNextUpstream(), GiveUp()


def decide(
    fault: Fault,
    *,
    attempt: int = 1,
    attempts: int = 1,
    elapsed: float = 0.0,
    last: bool = False,
    retry_after: float | None = None,
    jitter: float = 0.5,
) -> Decision:
    failure = UpstreamFailure(fault, 500, "", retry_after=retry_after)
    return POLICY.decide(failure, attempt=attempt, attempts=attempts, elapsed=elapsed, jitter=jitter, last=last)


@pytest.mark.parametrize(
    ("fault", "another_upstream", "the_last_one"),
    [
        (Fault.REQUEST, GIVE_UP, GIVE_UP),
        (Fault.ACCOUNT, NEXT, GIVE_UP),
        (Fault.RATE, NEXT, STAY),
        (Fault.UPSTREAM, STAY, STAY),
        (Fault.TIMEOUT, NEXT, GIVE_UP),
        (Fault.UNCLEAR, NEXT, GIVE_UP),
        (Fault.GARBAGE, NEXT, GIVE_UP),
        (Fault.TOO_LARGE, GIVE_UP, GIVE_UP),
    ],
)
def test_each_fault_has_its_reaction(fault: Fault, another_upstream: Decision, the_last_one: Decision) -> None:
    assert decide(fault, last=False) == another_upstream
    assert decide(fault, last=True) == the_last_one


def test_every_fault_is_in_the_table() -> None:
    assert [decide(fault) for fault in Fault]


@pytest.mark.parametrize(("last", "decision"), [(False, NEXT), (True, GIVE_UP)])
def test_an_upstream_is_asked_so_often_and_no_more(last: bool, decision: Decision) -> None:
    assert decide(Fault.UPSTREAM, attempt=2, attempts=2, last=last) == decision


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("fault", Fault)
def test_a_request_is_attempted_so_often_and_no_more(fault: Fault, last: bool) -> None:
    assert decide(fault, attempts=4, last=last) == GIVE_UP
    assert decide(fault, elapsed=10.0, last=last) == GIVE_UP


@pytest.mark.parametrize(
    ("retry_after", "last", "decision"),
    [
        (None, True, RetrySameUpstream(delay=0.1)),
        (0.0, True, RetrySameUpstream(delay=0.1)),
        (1.5, True, RetrySameUpstream(delay=1.5)),
        (2.0, True, RetrySameUpstream(delay=2.0)),
        (2.1, True, GIVE_UP),
        (2.1, False, NEXT),
        (3600.0, True, GIVE_UP),
    ],
)
def test_what_the_upstream_asks_for_is_waited_for_up_to_a_limit(
    retry_after: float | None, last: bool, decision: Decision
) -> None:
    assert decide(Fault.UPSTREAM, retry_after=retry_after, last=last) == decision


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 2.0), (50, 2.0)])
def test_pauses_double_up_to_a_limit_and_are_spread_at_random(attempt: int, longest: float) -> None:
    patient = RetryPolicy(attempts_per_upstream=100, max_attempts=100)
    failure = UpstreamFailure(Fault.UPSTREAM, 500, "")

    delays = [
        patient.decide(failure, attempt=attempt, attempts=1, elapsed=0, jitter=jitter, last=True)
        for jitter in (0.0, 0.25, 1.0)
    ]

    assert delays == [RetrySameUpstream(delay=longest * jitter) for jitter in (0.0, 0.25, 1.0)]
