"""core/redis/lua: each script as one step, for the account's scope."""

from tests.model.protocol import CAP, ESTIMATED_COST, WANTED, Protocol
from tests.model.state import Entry, Ledger, Redis, Request, Reservation, put
from tests.model.vocabulary import ESTIMATE, EXACT

__all__ = ["admit", "confirm", "cost_of", "publish", "release", "settle", "spent", "total"]


def spent(redis: Redis) -> int:
    return redis.ledger + sum([entry.charged for entry in redis.stream])


def total(ledger: Ledger, protocol: Protocol) -> int:
    """What `usage_periods` holds and Redis is told: charged, and with `parked_counts` what is parked as well."""
    charged = sum([row.charged for row in ledger.rows if row is not None])
    return charged + (sum([letter.charged for letter in ledger.letters]) if protocol.parked_counts else 0)


def cost_of(kind: str, request: Request) -> int:
    if kind == EXACT:
        return request.granted
    return ESTIMATED_COST if kind == ESTIMATE else 0


def admit(redis: Redis, request: int, protocol: Protocol) -> tuple[Redis, int]:
    """admit.lua. The grant; 0: the cap stands in the way."""
    reserved = sum([one.held for one in redis.reservations if one is not None])
    granted = min(WANTED, CAP - spent(redis) - reserved)
    if granted < 1:
        return redis, 0
    reservation = Reservation(granted, protocol.estimate_with_admit)
    return redis._replace(reservations=put(redis.reservations, request, reservation)), granted


def settle(redis: Redis, entry: Entry, protocol: Protocol) -> tuple[Redis, int]:
    """settle.lua; `entry.charged` is the cost. Returns what was waived, or -1 for `cold`.

    The cap never changes here, so what was promised at admission is never more than what the cap has room for now."""
    reservation = redis.reservations[entry.request]
    if protocol.settle_asks_for_publication and not redis.published:
        return redis, -1
    held = reservation.held if reservation else 0
    room = CAP - spent(redis)
    if not protocol.waive_at_the_cap_only:
        # What was reserved was granted, whatever others hold.
        room = max(room + held - sum([one.held for one in redis.reservations if one is not None]), held)
    charged = min(entry.charged, max(room, 0))
    reservations = put(redis.reservations, entry.request, None) if reservation else redis.reservations
    stream = (*redis.stream, entry._replace(charged=charged))
    return redis._replace(reservations=reservations, stream=stream), entry.charged - charged


def release(redis: Redis, request: int) -> tuple[Redis, bool]:
    """release.lua. False: there was nothing to release."""
    if redis.reservations[request] is None:
        return redis, False
    return redis._replace(reservations=put(redis.reservations, request, None)), True


def confirm(redis: Redis, entries: tuple[Entry, ...], committed: tuple[int, int]) -> Redis:
    """confirm.lua: deletes the entries that are still there and sets the total, unless Redis has a newer one."""
    gone = [entry.number for entry in entries]
    redis = redis._replace(stream=tuple([entry for entry in redis.stream if entry.number not in gone]))
    if committed[1] > redis.version:
        redis = redis._replace(ledger=committed[0], version=committed[1])
    return redis


def publish(redis: Redis, ledger: Ledger, protocol: Protocol) -> Redis:
    """publish.lua, also as metering/repair/counter_watch.py calls it for every scope of a new server."""
    redis = redis._replace(published=True)
    if ledger.version >= redis.version:
        redis = redis._replace(ledger=total(ledger, protocol), version=ledger.version)
    return redis
