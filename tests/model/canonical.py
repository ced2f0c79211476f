"""
One state for all those that differ in nothing that matters: each of these is a reason why the exploration ends.
"""

from tests.model.state import Consumer, Entry, Gateway, Letter, Record, Request, State, numbers_in, put
from tests.model.vocabulary import ESTIMATE, INTENT, OVER, UP

__all__ = ["canonical", "without_further_faults"]


def canonical(state: State) -> State:
    """One of all the states that differ in nothing that any later step asks for."""
    state = _without_what_is_over(state)
    numbers = numbers_in(state)
    if numbers and max(numbers) != len(numbers) - 1:
        rank = {number: position for position, number in enumerate(sorted(numbers))}
        state = _renumbered(state, rank)
    versions = _versions(state)
    if max(versions) != len(versions) - 1:
        state = _reversioned(state, {version: position for position, version in enumerate(sorted(versions))})
    return state


def without_further_faults(state: State) -> State:
    """Where no fault can follow, nobody will ask for what only a dead gateway leaves behind."""
    if state.deaths_left:
        state = state._replace(deaths_left=0)
    over = [number for number, request in enumerate(state.requests) if request.phase in OVER]
    for number, gateway in enumerate(state.gateways):
        if gateway.only_copy or gateway.files:
            files = tuple(
                [
                    rest
                    for file in gateway.files
                    if (rest := tuple([one for one in file if one.kind != INTENT or one.request not in over]))
                ]
            )
            gateway = gateway._replace(only_copy=False, files=files)
            state = state._replace(gateways=put(state.gateways, number, gateway))
    return state


def _without_what_is_over(state: State) -> State:
    for number, request in enumerate(state.requests):
        if request.phase not in OVER:
            continue
        row = state.ledger.rows[number]
        if row is not None and row.kind != ESTIMATE:
            state = _without_duplicates(state, number)
        if (request.trusted or request.granted) and not _is_on_its_way(state, number):
            state = state._replace(requests=put(state.requests, number, Request(request.gateway, request.phase)))
    for number, gateway in enumerate(state.gateways):
        troubled = gateway.link != UP or gateway.disk_refuses
        if troubled and all(one.gateway != number or one.phase in OVER for one in state.requests):
            state = state._replace(gateways=put(state.gateways, number, _at_leisure(gateway)))
    return state


def _at_leisure(gateway: Gateway) -> Gateway:
    """All its requests are over. Connecting only lets it replay, which it may put off as well; and while it has nothing
    to write its disk does not matter."""
    if gateway.frozen:
        return gateway
    idle = not (gateway.memory or gateway.recent)
    return gateway._replace(link=UP, disk_refuses=gateway.disk_refuses and not idle)


def _without_duplicates(state: State, number: int) -> State:
    """Its own ending is in the ledger: what else is on its way would be dropped there. On the stream it would make
    Redis count too much for a moment, never too little; so it may as well never get there."""
    if not _is_on_its_way(state, number):
        return state

    def others(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple([record for record in records if record.request != number])

    def files(every: tuple[tuple[Record, ...], ...]) -> tuple[tuple[Record, ...], ...]:
        return tuple([rest for file in every if (rest := others(file))])

    late = tuple([one for one in state.late if isinstance(one, int) or one.request != number])
    gateways = tuple(
        [
            one._replace(memory=others(one.memory), recent=others(one.recent), files=files(one.files))
            for one in state.gateways
        ]
    )
    return state._replace(late=late, gateways=gateways, orphans=files(state.orphans))


def _is_on_its_way(state: State, number: int) -> bool:
    places: tuple[tuple[Record | int, ...], ...] = (state.late, *state.orphans)
    for gateway in state.gateways:
        places += (gateway.memory, gateway.recent, *gateway.files)
    return any(
        one == number or (not isinstance(one, int) and one.request == number) for place in places for one in place
    )


def _renumbered(state: State, rank: dict[int, int]) -> State:
    def entries(items: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple([Entry(rank[one[0]], *one[1:]) for one in items])

    letters = tuple(
        [Letter(rank[one.number], *one[1:4], rank.get(one.put_back, one.put_back)) for one in state.ledger.letters]
    )
    stalled = state.stalled
    return state._replace(
        redis=state.redis._replace(stream=entries(state.redis.stream)),
        stalled=None if stalled is None else stalled._replace(stream=entries(stalled.stream)),
        consumers=tuple([one._replace(batch=entries(one.batch)) if one.batch else one for one in state.consumers]),
        ledger=state.ledger._replace(letters=letters),
    )


def _versions(state: State) -> set[int]:
    versions = {state.redis.version, state.ledger.version}
    if state.stalled is not None:
        versions.add(state.stalled.version)
    for consumer in state.consumers:
        if consumer.committed is not None:
            versions.add(consumer.committed[1])
    return versions


def _reversioned(state: State, rank: dict[int, int]) -> State:
    def committed(consumer: Consumer) -> Consumer:
        if consumer.committed is None:
            return consumer
        return consumer._replace(committed=(consumer.committed[0], rank[consumer.committed[1]]))

    stalled = state.stalled
    return state._replace(
        redis=state.redis._replace(version=rank[state.redis.version]),
        stalled=None if stalled is None else stalled._replace(version=rank[stalled.version]),
        ledger=state.ledger._replace(version=rank[state.ledger.version]),
        consumers=tuple(map(committed, state.consumers)),
    )
