"""
What must hold (design/metering.md): the cap at each commit, the rest when nothing is left to happen but further faults.
"""

from collections.abc import Iterator

from tests.model.protocol import CAP
from tests.model.spool import next_record
from tests.model.state import State
from tests.model.vocabulary import ESTIMATE, EXACT, LOST, RELEASED, SETTLED

__all__ = [
    "CAP_PASSED",
    "CHARGED_THOUGH_RELEASED",
    "COUNTERS_DIFFER",
    "EVENT_LOST",
    "EXACT_COUNTS_LOST",
    "PARKED_FORGOTTEN",
    "STUCK",
    "at_each_commit",
    "at_the_end",
    "charged",
]

EVENT_LOST = "I1: an answered request has no event"
EXACT_COUNTS_LOST = "I2: the client saw the answer's end, the ledger holds an estimate"
CAP_PASSED = "I6: the cap is passed"
COUNTERS_DIFFER = "I7: Redis and the ledger differ"
PARKED_FORGOTTEN = "a parked amount no longer counts against the cap"
CHARGED_THOUGH_RELEASED = "a released request is charged"
STUCK = "something is left that nobody will ever deal with"


def at_each_commit(state: State) -> Iterator[str]:
    """I6. (I3 has no counterpart: sums are sums here.)"""
    if charged(state) > CAP:
        yield CAP_PASSED


def at_the_end(state: State) -> Iterator[str]:
    for number, request in enumerate(state.requests):
        row = state.ledger.rows[number]
        kinds = [letter.kind for letter in state.ledger.letters if letter.request == number]
        kinds += [row.kind] if row is not None else []
        if request.phase == SETTLED and EXACT not in kinds:
            yield EXACT_COUNTS_LOST if kinds else EVENT_LOST
        if request.phase == LOST and not kinds:
            yield EVENT_LOST
        if request.phase == RELEASED and kinds and set(kinds) == {ESTIMATE}:
            yield CHARGED_THOUGH_RELEASED
    yield from _counters(state)
    redis = state.redis
    unsent = [next_record(one.files, adopted=False) or one.memory for one in state.gateways]
    if any(redis.reservations) or redis.stream or any(unsent) or state.orphans:
        yield STUCK


def _counters(state: State) -> Iterator[str]:
    """Too much, because nobody has told Redis the last change, goes with the next look of counter_watch.py."""
    redis, ledger = state.redis, state.ledger
    if redis.ledger < charged(state):
        yield PARKED_FORGOTTEN if ledger.letters else COUNTERS_DIFFER
    elif redis.ledger > charged(state) and not ledger.letters and redis.version == ledger.version:
        yield COUNTERS_DIFFER


def charged(state: State) -> int:
    """An event counts once: its row, or else what is parked of it. The totals may hold a parked copy as well."""
    amounts = {letter.request: letter.charged for letter in state.ledger.letters}
    amounts |= {number: row.charged for number, row in enumerate(state.ledger.rows) if row is not None}
    return sum(amounts.values())
