"""
The gateway: admission.py, reservation.py, settlement.py and the work of spool.py.

A request asks, is sent and ends: three steps, because what happens in Redis between two of them matters, and nothing
that happens elsewhere does. The upstream's answer and its settlement are one step: no other process sees what lies in
between, and a gateway that dies there is one that died while the answer was under way.
"""

from collections.abc import Iterator

from tests.model import scripts
from tests.model.endings import (
    acknowledged,
    connection_lost,
    execute,
    is_release,
    put_down,
    reaches_redis,
    settle,
    wrote,
)
from tests.model.invariants import charged
from tests.model.protocol import CAP, WANTED, Protocol
from tests.model.spool import keep, keep_intent, next_record, without_record
from tests.model.state import Record, Request, State, put
from tests.model.steps import FREE, OPTIONAL, Faults, Step, Steps
from tests.model.vocabulary import ADMITTED, DOWN, EXACT, INTENT, NEW, RELEASE, RELEASED, SENT, SETTLED, UP, VOID

__all__ = ["gateway_steps"]

ANSWER_LOST = "an answer of Redis is lost"
POSTGRES_REFUSES = "Postgres refuses"
ANSWERS = "the upstream answers {request}; {gateway} settles"
FAILS = "the upstream fails {request}; {gateway} releases"
UNWRITTEN = "{gateway} can't write the intent of {request}, answers 503 and releases"
ADMITTED_PAST_CAP = "Redis admits what, with the sum in the ledger, passes the cap"


def gateway_steps(state: State, protocol: Protocol, faults: Faults) -> Steps:
    for number, request in enumerate(state.requests):
        if not state.gateways[request.gateway].frozen:
            yield from _request_steps(state, number, protocol, faults)
    for number, gateway in enumerate(state.gateways):
        if not gateway.frozen:
            yield from _spool_steps(state, number, protocol, faults)
            if gateway.link == DOWN:
                connected = put(state.gateways, number, gateway._replace(link=UP))
                yield Step("{gateway} connects to Redis", number, FREE, state._replace(gateways=connected))
    yield from _late_steps(state, protocol)


def _request_steps(state: State, number: int, protocol: Protocol, faults: Faults) -> Steps:
    phase = state.requests[number].phase
    if phase == NEW and (number == 0 or state.requests[0].phase != NEW):  # Which of two asks first is only a name.
        yield from _ask(state, number, protocol, faults)
    elif phase == ADMITTED:
        yield from _send(state, number, protocol, faults)
    elif phase == SENT:
        yield from _end(state, Record(number, EXACT), ANSWERS, protocol, faults)
        yield from _end(state, Record(number, VOID), FAILS, protocol, faults)
    if phase in (ADMITTED, SENT):
        yield from _renew(state, number, protocol)


def _renew(state: State, number: int, protocol: Protocol) -> Steps:
    """Leases.run, where a renewal goes wrong: Redis refuses it, or has no such reservation. The others: metering.py."""
    request = state.requests[number]
    if state.gateways[request.gateway].link != UP or request.in_doubt:
        return
    if state.refusing or state.redis.reservations[number] is None:
        after = put_down(state, number, protocol)
        yield Step("{gateway} can't renew the lease of {request}", number, OPTIONAL, after)


def _ask(state: State, number: int, protocol: Protocol, faults: Faults) -> Steps:
    """Admission.admit. Reading Postgres and publishing what it says are one step: a commit in between looks the same as
    one after it, for publish.lua keeps the newer total."""
    gateway = state.requests[number].gateway
    if not reaches_redis(state, gateway):
        yield from _unanswered(state, number, "{gateway} can't ask Redis for {request}", FREE)
        return
    redis, ledger = state.redis, state.ledger
    if protocol.cold_until_published_for_this_server and not redis.published:
        if POSTGRES_REFUSES in faults:
            yield from _unanswered(state, number, "{gateway} can't publish the account for {request}", POSTGRES_REFUSES)
        redis = scripts.publish(redis, ledger, protocol)
    admitted, granted = scripts.admit(redis, number, protocol)
    after = wrote(state._replace(redis=admitted), gateway)
    if granted:
        broken = ADMITTED_PAST_CAP if charged(state) + granted > CAP else ""
        after = _become(after, number, phase=ADMITTED, granted=granted)
        yield Step("{gateway} admits {request}", number, FREE, after, broken)
        if protocol.release_of_unanswered_admit:
            left = _become(keep(after, gateway, Record(number, VOID), protocol), number, phase=RELEASED)
            yield Step("{gateway} admits {request}, whose client leaves meanwhile", number, OPTIONAL, left)
    else:
        yield Step("{gateway} refuses {request}: the cap", number, FREE, _become(after, number, phase=RELEASED))
    if ANSWER_LOST not in faults:
        return
    # The command is out and the connection gone: Redis executes it at once, later, or never.
    lost = connection_lost(state._replace(redis=redis, late=(*state.late, number)), gateway, protocol)
    turned_away = keep(lost, gateway, Record(number, VOID), protocol) if protocol.release_of_unanswered_admit else lost
    yield from _trust(lost, number, "{gateway} gets no answer about {request}", ANSWER_LOST)
    yield _turn_away(turned_away, number, "{gateway} gets no answer about {request}", ANSWER_LOST)


def _unanswered(state: State, number: int, text: str, cause: str) -> Steps:
    yield from _trust(state, number, text, cause)
    yield _turn_away(state, number, text, cause)


def _trust(state: State, number: int, text: str, cause: str) -> Iterator[Step]:
    """Admission on trust needs a disk that works, and a key that was admitted here before."""
    if not state.gateways[state.requests[number].gateway].disk_refuses:
        trusted = _become(state, number, phase=ADMITTED, trusted=True, granted=WANTED)
        yield Step(text + " and admits it on trust", number, cause, trusted)


def _turn_away(state: State, number: int, text: str, cause: str) -> Step:
    """503: the exposure is used up, or the key was not seen here before."""
    return Step(text + " and answers 503", number, cause, _become(state, number, phase=RELEASED))


def _send(state: State, number: int, protocol: Protocol, faults: Faults) -> Steps:
    """Reservation.dispatch: the last moment before the upstream has the request."""
    request = state.requests[number]
    link = state.gateways[request.gateway].link
    intent = (request.trusted and protocol.intent_on_trust) or request.put_down
    if not protocol.estimate_with_admit:
        intent = intent or link == DOWN
        reservation = state.redis.reservations[number]
        if link == UP and not state.refusing and reservation is not None:  # Else nobody hears that it went wrong.
            reservations = put(state.redis.reservations, number, reservation._replace(estimate=True))
            state = state._replace(redis=state.redis._replace(reservations=reservations))
    if intent:
        state, taken = keep_intent(state, request.gateway, number, protocol)
        if not taken:
            yield from _end(state, Record(number, VOID), UNWRITTEN, protocol, faults)
            return
    yield Step("{gateway} sends {request} to the upstream", number, FREE, _become(state, number, phase=SENT))


def _end(state: State, record: Record, text: str, protocol: Protocol, faults: Faults) -> Steps:
    """Reservation.settle and .release: to Redis, or to the spool when Redis does not take it."""
    number = record.request
    gateway = state.requests[number].gateway
    ended = _ended(state, number, record)
    if not reaches_redis(state, gateway):
        yield Step(text + " into the spool", number, FREE, keep(ended, gateway, record, protocol))
        return
    after, _, broken = execute(state, record, protocol)
    yield Step(text, number, FREE, acknowledged(_ended(after, number, record), gateway, record, protocol), broken)
    release = is_release(state, record, protocol)
    if POSTGRES_REFUSES in faults and not state.redis.published and not release:
        yield Step(text + " into the spool", number, POSTGRES_REFUSES, keep(ended, gateway, record, protocol))
    if ANSWER_LOST in faults:
        command = Record(number, RELEASE) if release else record
        lost = connection_lost(ended._replace(late=(*state.late, command)), gateway, protocol)
        yield Step(text + ", hears nothing and spools it", number, ANSWER_LOST, keep(lost, gateway, record, protocol))


def _ended(state: State, number: int, record: Record) -> State:
    """Spool.ended: an intent that waits in memory is void."""
    gateway = state.gateways[state.requests[number].gateway]
    if gateway.memory:
        memory = tuple([one for one in gateway.memory if one != (number, INTENT)])
        position = state.requests[number].gateway
        state = state._replace(gateways=put(state.gateways, position, gateway._replace(memory=memory)))
    return _become(state, number, phase=SETTLED if record.kind == EXACT else RELEASED)


def _spool_steps(state: State, number: int, protocol: Protocol, faults: Faults) -> Steps:
    """Spool.run: flush, then replay our own files and those of the dead."""
    gateway = state.gateways[number]
    if gateway.memory and not gateway.disk_refuses:
        after = state._replace(gateways=put(state.gateways, number, gateway._replace(memory=(), only_copy=False)))
        for record in gateway.memory:
            after = keep(after, number, record, protocol)
        yield Step("{gateway} writes to the disk what waited in memory", number, FREE, after)
    if not reaches_redis(state, number):
        return
    endings = [record for record in gateway.memory if record.kind != INTENT] if gateway.disk_refuses else []
    if endings:
        memory = tuple([one for one in gateway.memory if one != endings[0]])
        after = state._replace(gateways=put(state.gateways, number, gateway._replace(memory=memory)))
        yield from _replay(state, after, number, endings[0], "{gateway} replays its memory", protocol, faults)
    found = next_record(gateway.files, adopted=False)
    if found is not None:
        position, record = found
        files = without_record(gateway.files, position, record)
        after = state._replace(gateways=put(state.gateways, number, gateway._replace(files=files)))
        yield from _replay(state, after, number, record, "{gateway} replays its spool", protocol, faults)
    found = next_record(state.orphans, adopted=True)
    if found is not None:
        position, record = found
        after = state._replace(orphans=without_record(state.orphans, position, record))
        yield from _replay(state, after, number, record, "{gateway} replays a dead one's spool", protocol, faults)


def _replay(
    before: State, after: State, number: int, record: Record, text: str, protocol: Protocol, faults: Faults
) -> Steps:
    after, _, broken = execute(after, record, protocol, replayed=True)  # Where Postgres refuses, it stays as it is.
    yield Step(text, number, FREE, acknowledged(after, number, record, protocol, replayed=True), broken)
    if ANSWER_LOST in faults:
        lost = connection_lost(before._replace(late=(*before.late, record)), number, protocol)
        yield Step(text + " and gets no answer", number, ANSWER_LOST, lost)


def _late_steps(state: State, protocol: Protocol) -> Steps:
    """Redis reads a connection that the gateway has given up. Only the one command: nobody is there to follow it up."""
    if state.refusing:
        return
    for position, command in enumerate(state.late):
        after, broken = state._replace(late=(*state.late[:position], *state.late[position + 1 :])), ""
        who = command if isinstance(command, int) else command.request
        if isinstance(command, int):
            after = after._replace(redis=scripts.admit(state.redis, command, protocol)[0])
        elif command.kind == RELEASE:
            after = after._replace(redis=scripts.release(state.redis, command.request)[0])
        else:
            after, _, broken = settle(after, command, protocol)
        yield Step("Redis executes a late command of {request}", who, OPTIONAL, after, broken)


def _become(state: State, number: int, **changes: object) -> State:
    request: Request = state.requests[number]._replace(**changes)  # type: ignore[arg-type]  # Named above.
    return state._replace(requests=put(state.requests, number, request))
