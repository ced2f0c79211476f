"""
What may go wrong, and how it mends. Each costs one of the faults that a scope allows, whatever follows from it.

Two assumptions are built in; docs/guarantees.md says them to the user.

1. A gateway that holds the only copy of what Redis acknowledged a moment ago, and lost, lives until it has handed it on
   (`only_copy`): its host and Redis' do not die within the same seconds.
2. Redis does not lose an entry that a consumer has read and not yet committed (`_held_by_a_consumer`): the event would
   be counted, but for a moment not against the cap.
"""

from tests.model.endings import connection_lost, execute, reaches_redis
from tests.model.gateway import ANSWER_LOST, POSTGRES_REFUSES
from tests.model.metering import COMMIT_UNANSWERED, PARKED, delivered, readable
from tests.model.protocol import Protocol
from tests.model.spool import merged
from tests.model.state import Consumer, Gateway, State, put
from tests.model.steps import FREE, OPTIONAL, Step, Steps
from tests.model.vocabulary import ADMITTED, BROKEN, DOWN, FORGOTTEN, INTENT, LOST, NEW, RELEASED, SENT, SETTLED, UP

__all__ = ["FAULTS", "consequences", "fault_steps", "mending_steps"]

KILLED = "a gateway is killed"
STOPPED = "a gateway is stopped"
FROZEN = "a gateway is frozen"
CUT = "a connection to Redis is lost"
REFUSING = "Redis refuses writes"
CRASHED = "Redis dies"
CLOCK = "Redis' clock steps"
DISK = "a disk refuses"
CONSUMER_KILLED = "the consumer is killed"
CONSUMER_FROZEN = "the consumer is frozen"

FAULTS = (
    ANSWER_LOST,
    POSTGRES_REFUSES,
    COMMIT_UNANSWERED,
    PARKED,
    KILLED,
    STOPPED,
    FROZEN,
    CUT,
    REFUSING,
    CRASHED,
    CLOCK,
    DISK,
    CONSUMER_KILLED,
    CONSUMER_FROZEN,
)

OPEN = ADMITTED, SENT


def fault_steps(state: State, protocol: Protocol) -> Steps:
    for number, gateway in enumerate(state.gateways):
        yield from _gateway_faults(state, number, gateway, protocol)
    if not state.refusing:
        yield Step("Redis begins to refuse writes", 0, REFUSING, state._replace(refusing=True))
    if state.stalled is None and state.deaths_left:
        stalled = state._replace(stalled=state.redis, deaths_left=state.deaths_left - 1)
        yield Step("Redis' disk stalls: from here on Redis may lose what it acknowledges", 0, CRASHED, stalled)
    if any(one is not None and not one.lease for one in state.redis.reservations):
        yield Step("Redis' clock steps past every deadline", 0, CLOCK, _with_leases(state, 1))
    for number, consumer in enumerate(state.consumers):
        yield from _consumer_faults(state, number, consumer)


def consequences(state: State, protocol: Protocol) -> Steps:
    """What a fault that has been paid for leads to."""
    if state.stalled is not None and not _held_by_a_consumer(state):
        dead = _crashed(state, protocol)
        yield Step("Redis dies and comes back as it was when its disk stalled", 0, OPTIONAL, dead)


def mending_steps(state: State, protocol: Protocol) -> Steps:
    if state.refusing:
        after = state._replace(refusing=False)
        yield Step("Redis takes writes again", 0, FREE, after)
        if any(state.redis.reservations):
            yield Step("Redis takes writes again, after all leases", 0, FREE, _with_leases(after, 2))
    for number, gateway in enumerate(state.gateways):
        yield from _gateway_mends(state, number, gateway, protocol)
    for number, consumer in enumerate(state.consumers):
        if consumer.condition == "frozen":
            awake = state._replace(consumers=put(state.consumers, number, consumer._replace(condition="running")))
            yield Step("{consumer} wakes", number, FREE, awake)


def _gateway_mends(state: State, number: int, gateway: Gateway, protocol: Protocol) -> Steps:
    if gateway.disk_refuses:
        mended = put(state.gateways, number, gateway._replace(disk_refuses=False))
        yield Step("the disk of {gateway} takes writes again", number, FREE, state._replace(gateways=mended))
    if gateway.frozen:
        awake = state._replace(gateways=put(state.gateways, number, gateway._replace(frozen=False)))
        if gateway.link == BROKEN:
            awake = connection_lost(awake, number, protocol)
        yield Step("{gateway} wakes", number, FREE, awake)


def _gateway_faults(state: State, number: int, gateway: Gateway, protocol: Protocol) -> Steps:
    """Only where the fault can change anything: a gateway without work is as good as a dead one."""
    phases = [request.phase for request in state.requests if request.gateway == number]
    at_work = any(phase in OPEN for phase in phases)
    if not gateway.only_copy and (at_work or gateway.memory or gateway.files):
        yield Step("{gateway} is killed and started again", number, KILLED, _killed(state, number, protocol))
    only_copy = gateway.only_copy or (state.stalled is not None and reaches_redis(state, number))  # Handed in last.
    if gateway.memory and not at_work and not gateway.frozen and not only_copy:
        yield Step("{gateway} is stopped and started again", number, STOPPED, _stopped(state, number, protocol))
    if at_work and not gateway.frozen:
        frozen = put(state.gateways, number, gateway._replace(frozen=True))
        yield Step("{gateway} is frozen", number, FROZEN, state._replace(gateways=frozen))
    if gateway.link == UP and not gateway.frozen and (at_work or NEW in phases):
        yield Step("{gateway} loses its connection to Redis", number, CUT, connection_lost(state, number, protocol))
    if not gateway.disk_refuses and (at_work or gateway.recent or NEW in phases):
        refuses = put(state.gateways, number, gateway._replace(disk_refuses=True))
        yield Step("the disk of {gateway} begins to refuse", number, DISK, state._replace(gateways=refuses))


def _killed(state: State, number: int, protocol: Protocol) -> State:
    """kill -9. The new process begins without a connection; the old one's files belong to whoever takes them."""
    gateway = state.gateways[number]
    in_memory = {record.request for record in gateway.memory if record.kind != INTENT}
    fates = {ADMITTED: FORGOTTEN, SENT: LOST}
    requests = []
    for position, request in enumerate(state.requests):
        phase = request.phase
        if request.gateway == number:
            phase = fates.get(phase, phase)
            if position in in_memory:  # The client was told, but nobody else was.
                phase = {SETTLED: LOST, RELEASED: FORGOTTEN}[phase]
        requests.append(request if phase == request.phase else request._replace(phase=phase))
    after = Gateway(link=DOWN, disk_refuses=gateway.disk_refuses)
    return state._replace(
        requests=tuple(requests),
        gateways=put(state.gateways, number, after),
        orphans=merged((*state.orphans, *gateway.files), protocol),
    )


def _stopped(state: State, number: int, protocol: Protocol) -> State:
    """SIGTERM, `_finish` in app.py: what waits in memory gets one last chance. Without Redis it has none."""
    sendable = reaches_redis(state, number)
    kept = []
    for record in state.gateways[number].memory:
        taken = sendable
        if sendable and protocol.memory_sent_at_shutdown:
            state, taken, _ = execute(state, record, protocol, replayed=True)
        kept += [] if taken else [record]
    rest = state.gateways[number]._replace(memory=tuple(kept))
    return _killed(state._replace(gateways=put(state.gateways, number, rest)), number, protocol)


def _crashed(state: State, protocol: Protocol) -> State:
    assert state.stalled is not None
    # A replay that Redis has forgotten can be repeated; one that was under way has failed.
    left = [entry.number for entry in state.stalled.stream] if protocol.parked_until_recorded else []
    letters = tuple([one if one.put_back in left else one._replace(put_back=-1) for one in state.ledger.letters])
    state = state._replace(
        redis=state.stalled._replace(published=False),
        ledger=state.ledger._replace(letters=letters),
        stalled=None,
        late=(),
        refusing=False,
    )
    for number, gateway in enumerate(state.gateways):
        if gateway.link == UP and gateway.frozen:
            state = state._replace(gateways=put(state.gateways, number, gateway._replace(link=BROKEN)))
        elif gateway.link == UP:
            state = connection_lost(state, number, protocol)
    return state


def _with_leases(state: State, lease: int) -> State:
    leased = tuple([one and one._replace(lease=max(lease, one.lease)) for one in state.redis.reservations])
    return state._replace(redis=state.redis._replace(reservations=leased))


def _held_by_a_consumer(state: State) -> bool:
    assert state.stalled is not None
    safe = {entry.number for entry in state.stalled.stream}
    held = [consumer.batch for consumer in state.consumers if consumer.committed is None]
    return any(entry.number not in safe for batch in held for entry in batch)


def _consumer_faults(state: State, number: int, consumer: Consumer) -> Steps:
    """Killed, its successor takes its place and is given what it was given. Asleep, the successor works beside it."""
    if consumer.committed is not None:
        successor = put(state.consumers, number, Consumer())
        yield Step(
            "{consumer} is killed and a successor started", number, CONSUMER_KILLED, state._replace(consumers=successor)
        )
    if number == 0 and consumer.condition == "running" and (batch := consumer.batch or readable(state, number)):
        after = state if consumer.batch else delivered(state, number, batch)
        asleep = Consumer("frozen", batch, consumer.committed), state.consumers[1]._replace(condition="running")
        yield Step("{consumer} is frozen after it has read", number, CONSUMER_FROZEN, after._replace(consumers=asleep))
