"""
gateway/accounting/settlement.py: how an ending gets to Redis, what is kept when it does not, and what a lost connection
sets off.
"""

from tests.model import scripts
from tests.model.protocol import CAP, Protocol
from tests.model.spool import keep, keep_intent
from tests.model.state import Entry, Record, State, next_number, put
from tests.model.vocabulary import ADMITTED, DOWN, ESTIMATE, EXACT, INTENT, SENT, UP, VOID

__all__ = ["acknowledged", "connection_lost", "execute", "is_release", "put_down", "reaches_redis", "settle", "wrote"]

WAIVED_TOO_EARLY = "an amount is waived although the cap is not reached"


def reaches_redis(state: State, number: int) -> bool:
    """Connected, and Redis takes writes."""
    gateway = state.gateways[number]
    return gateway.link == UP and not gateway.frozen and not state.refusing


def execute(state: State, record: Record, protocol: Protocol, *, replayed: bool = False) -> tuple[State, bool, str]:
    """Settlement and Replay. Also says whether Redis took it, and what it breaks. Where `settle` answers `cold`, the
    gateway publishes the account and settles once more; where Postgres refuses, see `gateway.py`."""
    if is_release(state, record, protocol, replayed=replayed):
        redis, found = scripts.release(state.redis, record.request)
        if found or state.requests[record.request].trusted or not protocol.void_after_late_release:
            return state._replace(redis=redis), True, ""
    if protocol.settle_asks_for_publication and not state.redis.published:
        state = state._replace(redis=scripts.publish(state.redis, state.ledger, protocol))
    return settle(state, record, protocol)


def is_release(state: State, record: Record, protocol: Protocol, *, replayed: bool = False) -> bool:
    """Whether release.lua is enough, or its event has to be settled."""
    if record.kind != VOID or (replayed and protocol.void_for_spooled_release):
        return False
    request = state.requests[record.request]
    if request.trusted:
        return not protocol.void_also_on_trust
    return not (request.put_down and protocol.void_when_put_down)


def settle(state: State, record: Record, protocol: Protocol) -> tuple[State, bool, str]:
    kind = ESTIMATE if record.kind == INTENT else record.kind
    cost = scripts.cost_of(kind, state.requests[record.request])
    redis, waived = scripts.settle(state.redis, Entry(next_number(state), record.request, kind, cost), protocol)
    too_early = waived > 0 and scripts.spent(redis) < CAP
    return state._replace(redis=redis), waived >= 0, WAIVED_TOO_EARLY if too_early else ""


def wrote(state: State, number: int) -> State:
    """Redis has acknowledged a write of this gateway; while its disk stalls, that may be lost with it."""
    if state.stalled is None or state.gateways[number].only_copy:
        return state
    return state._replace(gateways=put(state.gateways, number, state.gateways[number]._replace(only_copy=True)))


def acknowledged(state: State, number: int, record: Record, protocol: Protocol, *, replayed: bool = False) -> State:
    """An ending of this gateway is in Redis: it is kept for as long as Redis may lose it.

    "For as long as" is `stalled` here and 3 seconds there, more than Redis ever waits for its disk."""
    state = wrote(state, number)
    if record.kind == INTENT:
        record = Record(record.request, ESTIMATE)  # A dead gateway's: from now on an ending like any other.
    kept = protocol.recent_settlements_kept
    if replayed or record.kind != EXACT:
        kept = protocol.recent_settlements_of_all_kinds
    gateway = state.gateways[number]
    if not kept or state.stalled is None or record in gateway.recent:
        return state
    return state._replace(gateways=put(state.gateways, number, gateway._replace(recent=(*gateway.recent, record))))


def connection_lost(state: State, number: int, protocol: Protocol) -> State:
    """app.py, `_redis_changed(False)`: Leases.redis_lost puts down the open requests, Settlement its recent endings."""
    gateway = state.gateways[number]
    recent = gateway.recent
    gateway = gateway._replace(link=DOWN, recent=(), only_copy=gateway.only_copy and gateway.disk_refuses)
    state = state._replace(gateways=put(state.gateways, number, gateway))
    phases = (ADMITTED, SENT) if protocol.intent_for_every_open_request else (SENT,)
    for request, one in enumerate(state.requests):
        if one.gateway == number and one.phase in phases:
            state = put_down(state, request, protocol)
    for record in recent:
        state = keep(state, number, record, protocol)
    return state


def put_down(state: State, number: int, protocol: Protocol) -> State:
    """Reservation.put_down. One that was not sent yet waits for its intent then."""
    request = state.requests[number]
    state = state._replace(requests=put(state.requests, number, request._replace(put_down=True)))
    if request.phase != SENT:
        return state
    state, taken = keep_intent(state, request.gateway, number, protocol)
    if not taken and protocol.intent_for_every_open_request:
        state = keep(state, request.gateway, Record(number, INTENT), protocol)  # In memory, to be tried again.
    return state
