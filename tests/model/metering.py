"""
Metering: consumer.py with ledger.py, sweeper.py, counter_watch.py and dead_letters.py.

A consumer commits and confirms in two steps, because it may die in between. Reading is a step only for one that falls
asleep with what it has read (faults.py): else nobody can see it. "Postgres refuses" is no step either: a consumer that
can't commit tries again, the same as one that is slow.
"""

from tests.model import scripts
from tests.model.endings import reaches_redis, settle
from tests.model.protocol import Protocol
from tests.model.state import Consumer, Entry, Ledger, Letter, Record, Row, State, next_number, put
from tests.model.steps import FREE, OPTIONAL, Faults, Step, Steps
from tests.model.vocabulary import ADMITTED, ESTIMATE, INTENT, SENT

__all__ = ["COMMIT_UNANSWERED", "PARKED", "delivered", "metering_steps", "readable"]

COMMIT_UNANSWERED = "Postgres commits without answering"
PARKED = "an entry is parked"
OVER_AND_RECORDED = "the lease of {request} is over: the sweeper records its estimate"
SWEPT_ALIVE = "the sweeper ends a reservation whose gateway is alive and reaches Redis all the time"


def metering_steps(state: State, protocol: Protocol, faults: Faults) -> Steps:
    for number, consumer in enumerate(state.consumers):
        if consumer.condition == "running":
            yield from _consume(state, number, consumer, protocol, faults)
    if not state.refusing:
        yield from _sweep(state, protocol)
        if not state.redis.published:
            redis = scripts.publish(state.redis, state.ledger, protocol)
            yield Step("metering publishes all accounts to the new Redis", 0, FREE, state._replace(redis=redis))
    yield from _dead_letter_steps(state, protocol)


def _consume(state: State, number: int, consumer: Consumer, protocol: Protocol, faults: Faults) -> Steps:
    if consumer.committed is not None:
        yield Step("{consumer} confirms", number, FREE, _confirmed(state, number))
    elif consumer.batch:
        yield from _record(state, number, consumer.batch, protocol, faults)
    elif batch := readable(state, number):
        yield from _record(delivered(state, number, batch), number, batch, protocol, faults)


def readable(state: State, number: int) -> tuple[Entry, ...]:
    """Consumer._next_entries: our own unfinished ones, those of a consumer that is asleep, new ones. All of them: to
    commit fewer is to commit before the last ones came."""
    other = state.consumers[1 - number]
    hidden = 2 - number if other.condition == "running" else -1
    return tuple([entry for entry in state.redis.stream if entry.reader != hidden])


def delivered(state: State, number: int, batch: tuple[Entry, ...]) -> State:
    stream = tuple([entry._replace(reader=number + 1) if entry in batch else entry for entry in state.redis.stream])
    return state._replace(redis=state.redis._replace(stream=stream))


def _record(state: State, number: int, batch: tuple[Entry, ...], protocol: Protocol, faults: Faults) -> Steps:
    ledger = _booked(state.ledger, batch, None, protocol)
    committed = _committed(state, number, batch, ledger, protocol)
    if faults:
        yield Step("{consumer} commits", number, FREE, committed)
    else:  # Nobody dies any more between the two, and whoever else looks counts the same before and after.
        yield Step("{consumer} commits and confirms", number, FREE, _confirmed(committed, number))
    if COMMIT_UNANSWERED in faults:
        unsure = state._replace(ledger=ledger, consumers=put(state.consumers, number, Consumer()))
        yield Step("{consumer} commits and Postgres does not answer", number, COMMIT_UNANSWERED, unsure)
    for parked in batch if PARKED in faults else ():
        ledger = _booked(state.ledger, batch, parked, protocol)
        parking = _committed(state, number, batch, ledger, protocol)
        yield Step("{consumer} commits and parks an entry", number, PARKED, parking)


def _confirmed(state: State, number: int) -> State:
    batch, committed = state.consumers[number].batch, state.consumers[number].committed
    assert committed is not None
    redis = scripts.confirm(state.redis, batch, committed)
    return state._replace(redis=redis, consumers=put(state.consumers, number, Consumer()))


def _booked(ledger: Ledger, batch: tuple[Entry, ...], parked: Entry | None, protocol: Protocol) -> Ledger:
    if parked is not None:
        ledger = _park(ledger, parked, protocol)
    for entry in batch:
        if entry is not parked:
            ledger = _book(ledger, entry, protocol)
    return ledger


def _committed(state: State, number: int, batch: tuple[Entry, ...], ledger: Ledger, protocol: Protocol) -> State:
    consumer = Consumer("running", batch, (scripts.total(ledger, protocol), ledger.version))
    return state._replace(ledger=ledger, consumers=put(state.consumers, number, consumer))


def _book(ledger: Ledger, entry: Entry, protocol: Protocol) -> Ledger:
    """RECORD in ledger.py: one row for each event; an own ending takes the place of an estimate."""
    row, moved = ledger.rows[entry.request], False
    if row is None:
        ledger = ledger._replace(rows=put(ledger.rows, entry.request, Row(entry.kind, entry.charged)))
        ledger = ledger._replace(version=ledger.version + 1)
    elif row.kind == ESTIMATE != entry.kind and protocol.own_ending_replaces_estimate:
        ledger, moved = ledger._replace(rows=put(ledger.rows, entry.request, Row(entry.kind, entry.charged))), True
    if protocol.parked_until_recorded and ledger.letters:
        rest = _still_parked(ledger, entry.request)
        ledger, moved = ledger._replace(letters=rest), moved or len(rest) < len(ledger.letters)
    return _moved(ledger, protocol) if moved else ledger


def _still_parked(ledger: Ledger, request: int) -> tuple[Letter, ...]:
    """Without the letters that the row of their event makes superfluous: all but an own ending beside an estimate."""
    row = ledger.rows[request]
    return tuple(
        [one for one in ledger.letters if one.request != request or (row and row.kind == ESTIMATE != one.kind)]
    )


def _park(ledger: Ledger, entry: Entry, protocol: Protocol) -> Ledger:
    """parking.py: a copy of what waits is the same letter; the one that was put back is no longer on its stream."""
    for position, letter in enumerate(ledger.letters):
        if letter.number == entry.number or letter[1:4] == (entry.request, entry.kind, entry.charged):
            back = letter._replace(put_back=-1) if letter.put_back == entry.number else letter
            return ledger._replace(letters=put(ledger.letters, position, back))
    letter = Letter(entry.number, entry.request, entry.kind, entry.charged)
    return _moved(ledger._replace(letters=(*ledger.letters, letter)), protocol)


def _moved(ledger: Ledger, protocol: Protocol) -> Ledger:
    return ledger._replace(version=ledger.version + protocol.version_counts_changes)


def _sweep(state: State, protocol: Protocol) -> Steps:
    """Sweeper and leases.py. Time is not counted. A lease is past its deadline because its gateway had no way to renew
    it, or because Redis' clock has jumped (1); the two looks of the sweeper tell one from the other, for in between a
    gateway that can renews. While Redis refused writes nobody could renew (2), and then the sweeper may be faster."""
    for number, reservation in enumerate(state.redis.reservations):
        if reservation is None:
            continue
        renewable = _owner_can_renew(state, number)
        if renewable and reservation.lease:
            yield Step("{gateway} renews the lease of {request}", number, FREE, _renewed(state, number))
        if protocol.settle_asks_for_publication and not state.redis.published:
            continue
        if not renewable or reservation.lease == 2 or (reservation.lease and not protocol.sweeper_looks_twice):
            yield _end_reservation(state, number, protocol, SWEPT_ALIVE if renewable and reservation.lease == 1 else "")


def _end_reservation(state: State, number: int, protocol: Protocol, broken: str) -> Step:
    reservation = state.redis.reservations[number]
    assert reservation is not None
    if reservation.estimate:
        after, _, waived = settle(state, Record(number, INTENT), protocol)
        return Step(OVER_AND_RECORDED, number, FREE, after, broken or waived)
    after = state._replace(redis=scripts.release(state.redis, number)[0])
    return Step("the lease of {request} is over: the sweeper releases it", number, FREE, after, broken)


def _owner_can_renew(state: State, number: int) -> bool:
    request = state.requests[number]
    return request.phase in (ADMITTED, SENT) and reaches_redis(state, request.gateway)


def _renewed(state: State, number: int) -> State:
    reservation = state.redis.reservations[number]
    assert reservation is not None
    reservations = put(state.redis.reservations, number, reservation._replace(lease=0))
    return state._replace(redis=state.redis._replace(reservations=reservations))


def _dead_letter_steps(state: State, protocol: Protocol) -> Steps:
    """`poindexter dead-letters replay`. A person may do it, or leave the letter. It waits for the ledger; before, it
    was marked when Redis had acknowledged its entry."""
    ledger = state.ledger
    for position, letter in enumerate(ledger.letters):
        if letter.put_back < 0 and not state.refusing:
            entry = Entry(next_number(state), letter.request, letter.kind, letter.charged)
            after = state._replace(
                redis=state.redis._replace(stream=(*state.redis.stream, entry)),
                ledger=ledger._replace(letters=put(ledger.letters, position, letter._replace(put_back=entry.number))),
            )
            yield Step("a person puts a dead letter back on the stream", position, OPTIONAL, after)
        if letter.put_back >= 0 and not protocol.parked_until_recorded:
            rest = (*ledger.letters[:position], *ledger.letters[position + 1 :])
            marked = _moved(ledger._replace(letters=rest, total_is_due=True), protocol)
            yield Step("the dead letter is marked as replayed", position, FREE, state._replace(ledger=marked))
    if ledger.total_is_due and not state.refusing:
        after = state._replace(ledger=ledger._replace(total_is_due=False))
        if protocol.parked_counts:
            redis = scripts.confirm(state.redis, (), (scripts.total(ledger, protocol), ledger.version))
            after = after._replace(redis=redis)
        yield Step("Redis is told the total without the dead letter", 0, FREE, after)
