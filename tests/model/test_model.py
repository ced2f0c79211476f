"""
The settlement protocol, every order of its steps and of a few faults: with its guards nothing is lost, counted twice or
charged beyond a cap; without them, or without any one of them, the exploration finds the way.

The counterexamples are the shortest there are. Those of the protocol before the guards are the faults S2, S3, S4, S5,
S8, B4 and B13; tests on real processes for the same faults stand in tests/metering, tests/gateway and tests/system.
"""

from dataclasses import dataclass, fields

import pytest

from tests.model import faults, gateway, invariants, metering
from tests.model.endings import WAIVED_TOO_EARLY
from tests.model.explorer import Counterexample, Scope, explore
from tests.model.protocol import Protocol
from tests.model.scopes import SHORT
from tests.model.trace import lines

BEFORE = Protocol.before()
ONE, TWO = (0,), (0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A counterexample that must be found with these faults, in at most so many steps."""

    protocol: Protocol
    faults: tuple[str, ...]
    broken: tuple[str, ...]
    max_steps: int
    requests: tuple[int, ...] = ONE
    never: str = ""


def found(known: Known) -> Counterexample:
    scope = Scope(
        protocol=known.protocol,
        requests=known.requests,
        max_faults=len(known.faults),
        faults=known.faults,
        promises=known.broken,
        never=known.never,
    )
    counterexample = explore(scope).counterexample
    assert counterexample is not None, "nothing found"
    return counterexample


@pytest.mark.parametrize("scope", SHORT.values(), ids=SHORT)
def test_the_protocol_keeps_every_promise_whatever_fails(scope: Scope) -> None:
    result = explore(scope)

    assert result.counterexample is None, "\n".join(lines(result.counterexample))
    assert result.states > 1000


KNOWN_FAULTS = {
    "S2": Known(
        protocol=BEFORE, faults=(metering.PARKED,), broken=(invariants.CAP_PASSED,), requests=TWO, max_steps=9
    ),
    "S3": Known(
        protocol=BEFORE, faults=(faults.REFUSING, faults.KILLED), broken=(invariants.EVENT_LOST,), max_steps=5
    ),
    "S4": Known(protocol=BEFORE, faults=(faults.CRASHED,), broken=(invariants.EVENT_LOST,), max_steps=6),
    "S5": Known(protocol=BEFORE, faults=(faults.FROZEN,), broken=(invariants.EXACT_COUNTS_LOST,), max_steps=8),
    "S8": Known(
        protocol=BEFORE, faults=(faults.CRASHED,), broken=(invariants.CAP_PASSED,), requests=TWO, never="on trust",
        max_steps=12,
    ),
    "B4": Known(
        protocol=BEFORE, faults=(faults.CUT, faults.DISK, faults.KILLED), broken=(invariants.EXACT_COUNTS_LOST,),
        never="the sweeper", max_steps=12,
    ),
    "B13": Known(protocol=BEFORE, faults=(faults.CLOCK,), broken=(invariants.EXACT_COUNTS_LOST,), max_steps=7),
    "B13, cut off": Known(protocol=BEFORE, faults=(faults.CUT,), broken=(invariants.EXACT_COUNTS_LOST,), max_steps=8),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_FAULTS)
def test_the_model_finds_the_known_faults_of_the_protocol_before_its_guards(name: str) -> None:
    known = KNOWN_FAULTS[name]

    counterexample = found(known)

    assert sorted(counterexample.faults) == sorted(known.faults)
    assert len(counterexample.steps) <= known.max_steps, "\n".join(lines(counterexample))


EVENT_LOST, CHARGED = (invariants.EVENT_LOST,), (invariants.CHARGED_THOUGH_RELEASED,)
ON_TRUST = (gateway.ANSWER_LOST,)


def without(*guards: str, uses: tuple[str, ...], breaks: tuple[str, ...], max_steps: int, **rest: object) -> Known:
    return Known(protocol=Protocol().without(*guards), faults=uses, broken=breaks, max_steps=max_steps, **rest)  # type: ignore[arg-type]


NEEDED = {
    "estimate_with_admit": without(
        "estimate_with_admit", uses=(faults.REFUSING, faults.KILLED), breaks=EVENT_LOST, max_steps=9
    ),
    "intent_on_trust": without("intent_on_trust", uses=(*ON_TRUST, faults.KILLED), breaks=EVENT_LOST, max_steps=3),
    "intent_for_every_open_request": without(
        "intent_for_every_open_request", uses=(faults.CRASHED, faults.KILLED), breaks=EVENT_LOST, max_steps=6
    ),
    "void_after_late_release": without("void_after_late_release", uses=(faults.FROZEN,), breaks=CHARGED, max_steps=8),
    "void_also_on_trust": without("void_also_on_trust", uses=ON_TRUST, breaks=CHARGED, max_steps=9),
    "void_when_put_down": without("void_when_put_down", uses=(faults.CUT, faults.KILLED), breaks=CHARGED, max_steps=9),
    "void_for_spooled_release": without(
        "void_for_spooled_release", uses=(faults.CRASHED,), breaks=CHARGED, max_steps=10
    ),
    "release_of_unanswered_admit": without("release_of_unanswered_admit", uses=ON_TRUST, breaks=CHARGED, max_steps=5),
    "own_ending_replaces_estimate": without(
        "own_ending_replaces_estimate", uses=(faults.FROZEN,), breaks=(invariants.EXACT_COUNTS_LOST,), max_steps=8
    ),
    "version_counts_changes": without(
        "version_counts_changes", uses=(metering.PARKED,), breaks=(invariants.PARKED_FORGOTTEN,), max_steps=5
    ),
    "sweeper_looks_twice": without(
        "sweeper_looks_twice", uses=(faults.CLOCK,), breaks=(metering.SWEPT_ALIVE,), max_steps=3
    ),
    "waive_at_the_cap_only": without(
        "waive_at_the_cap_only", uses=ON_TRUST, breaks=(WAIVED_TOO_EARLY,), requests=TWO, max_steps=5
    ),
    "parked_counts": without(
        "parked_counts", uses=(metering.PARKED,), breaks=(invariants.CAP_PASSED,), requests=TWO, max_steps=9
    ),
    "parked_until_recorded": without(
        "parked_until_recorded", uses=(metering.PARKED, faults.CRASHED), breaks=EVENT_LOST, max_steps=11
    ),
    "cold_until_published_for_this_server": without(
        "cold_until_published_for_this_server", uses=(faults.CRASHED,), breaks=(gateway.ADMITTED_PAST_CAP,),
        requests=TWO, max_steps=8,
    ),
    "settle_asks_for_publication": without(
        "settle_asks_for_publication", uses=(faults.CRASHED,), breaks=(invariants.CAP_PASSED,), requests=TWO,
        max_steps=12,
    ),
    "recent_settlements_kept": without(
        "recent_settlements_kept", uses=(faults.CRASHED,), breaks=EVENT_LOST, max_steps=6
    ),
    "recent_settlements_of_all_kinds": without(
        "recent_settlements_of_all_kinds", uses=(faults.CRASHED,), breaks=CHARGED, max_steps=9
    ),
    "newest_record_across_files": without(  # Alone it is covered: the ledger prefers the exact ending as well.
        "newest_record_across_files", "own_ending_replaces_estimate", uses=(faults.CUT, faults.DISK, faults.KILLED),
        breaks=(invariants.EXACT_COUNTS_LOST,), never="the sweeper", max_steps=12,
    ),
    "memory_sent_at_shutdown": without(
        "memory_sent_at_shutdown", uses=(faults.CUT, faults.DISK, faults.STOPPED),
        breaks=(invariants.EXACT_COUNTS_LOST,), max_steps=11,
    ),
}  # fmt: skip


@pytest.mark.parametrize("guard", NEEDED)
def test_without_the_guard_the_model_finds_what_it_is_for(guard: str) -> None:
    known = NEEDED[guard]

    counterexample = found(known)

    assert sorted(counterexample.faults) == sorted(known.faults)
    assert len(counterexample.steps) <= known.max_steps, "\n".join(lines(counterexample))


def test_no_guard_is_there_without_a_reason() -> None:
    assert set(NEEDED) == {guard.name for guard in fields(Protocol)}
