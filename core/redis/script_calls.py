"""
One function for each script of `core/redis/lua`: typed arguments in, the `Call` to send out. Whoever calls a script, a
service or a test, builds the call here, so the order of a script's keys and arguments stands in two places: in its
header and in this file. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from core.redis.keys import CONSUMER_GROUP, ReservationKeys
from core.redis.lua_scripts import Argument, Call
from core.usage.usage_event import UsageEvent

__all__ = [
    "Confirmation",
    "CounterChange",
    "PublishedTotal",
    "admit",
    "forget",
    "publish",
    "rebuild",
    "release",
    "renew",
    "replay",
    "settle",
    "settle_event",
]


def admit(
    keys: ReservationKeys,
    *,
    epoch: str,
    model: str,
    lease_ms: int,
    input_tokens: int,
    input_cost: int,
    output_tokens: int,
    min_output_tokens: int,
    output_cost: int,
    choices: int,
    event: bytes,
) -> Call:
    """`epoch` is the `run_id` of the server that this connection leads to. `event`, an estimate, is recorded if
    the gateway never ends the reservation."""
    return Call(
        "admit",
        (keys.account, keys.key, keys.reservation, keys.leases),
        (
            keys.event_id,
            epoch,
            model,
            lease_ms,
            input_tokens,
            input_cost,
            output_tokens,
            min_output_tokens,
            output_cost,
            choices,
            event,
        ),
    )


def renew(keys: ReservationKeys, *, lease_ms: int, event: bytes) -> Call:
    return Call("renew", (keys.reservation, keys.leases), (keys.event_id, lease_ms, event))


def settle_event(keys: ReservationKeys, event: UsageEvent, *, epoch: str = "") -> Call:
    return settle(
        keys,
        period=event.period.isoformat(),
        cost=event.amount_owed,
        tokens=event.usage.total,
        event=event.encode(),
        epoch=epoch,
    )


def settle(
    keys: ReservationKeys,
    *,
    period: str,
    cost: int,
    tokens: int,
    event: bytes,
    only_if_expired: bool = False,
    epoch: str = "",
) -> Call:
    """`only_if_expired`: for the sweeper, which must not end what is still alive. `epoch`: the server for which the
    scopes must have been published; the answer may be `cold` then."""
    return Call(
        "settle",
        (keys.account, keys.key, keys.reservation, keys.leases, keys.stream),
        (keys.event_id, period, cost, tokens, event, int(only_if_expired), epoch),
    )


def release(keys: ReservationKeys, *, only_if_expired: bool = False) -> Call:
    return Call(
        "release",
        (keys.account, keys.key, keys.reservation, keys.leases),
        (keys.event_id, int(only_if_expired)),
    )


@dataclass(frozen=True, slots=True)
class PublishedTotal:
    """What the ledger holds of the scope that is published. `force`: set it even if Redis has a newer one."""

    period: str
    charged: int
    version: int
    force: bool = False


def publish(
    scope: str,
    *,
    revision: int,
    epoch: str,
    totals: Sequence[PublishedTotal],
    fields: Mapping[str, Argument | None],
) -> Call:
    """`epoch` is the server's `run_id`, asked for before Postgres was. `fields` are the limits; None = no limit."""
    sums = [part for one in totals for part in (one.period, one.charged, one.version, int(one.force))]
    limits = [part for name, value in fields.items() for part in (name, "" if value is None else value)]
    return Call("publish", (scope,), (revision, epoch, len(totals), *sums, *limits))


class Confirmation:
    """What one call of `confirm` tells Redis: entries of a stream that the ledger has, and totals of scopes.

    Thousands at once, so each takes its final form when it is added."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._scopes: dict[str | None, int] = {None: 0}
        self._entries: list[tuple[str, int, str, int, int]] = []
        self._totals: list[tuple[int, str, str, int]] = []

    def add_entry(
        self, entry_id: str, charged: int = 0, period: str = "", account: str | None = None, key: str | None = None
    ) -> None:
        """`account` and `key` are the scopes that it is counted in; None for an entry that does not name them."""
        number, known = self._scopes.setdefault, self._scopes
        self._entries.append((entry_id, charged, period, number(account, len(known)), number(key, len(known))))

    def add_total(self, scope: str, period: str, charged: int, version: int) -> None:
        """What the ledger holds of a scope in a period; a smaller version never overwrites a larger one."""
        self._totals.append((self._scopes.setdefault(scope, len(self._scopes)), period, str(charged), version))

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self._entries)

    @property
    def call(self) -> Call:
        scopes = [scope for scope in self._scopes if scope is not None]
        arguments = CONSUMER_GROUP, orjson.dumps(self._entries), orjson.dumps(self._totals)
        return Call("confirm", (self._stream, *scopes), arguments)


def replay(
    stream: str,
    fields: Mapping[bytes, bytes],
    *,
    scopes: tuple[str, ...] = (),
    period: str = "",
    charged: int = 0,
    before: str = "",
) -> Call:
    """`fields` are the entry's. Without scopes its amount is added to nothing: whose it is can't be read. `before`:
    the entry as which it was put back before, which may still be there."""
    parts = (part for pair in fields.items() for part in pair)
    return Call("replay", (stream, *scopes), (period, charged, before, *parts))


@dataclass(frozen=True, slots=True)
class CounterChange:
    """Write `value` into a field that still holds `seen`. Empty: there was no field, or it is removed."""

    scope: str
    field: str
    seen: str
    value: str


def forget(stream: str, *, silent_ms: int) -> Call:
    """Consumers that have not been heard of for so long."""
    return Call("forget", (stream,), (CONSUMER_GROUP, silent_ms))


def rebuild(changes: Sequence[CounterChange]) -> Call:
    """All of one shard."""
    numbers = {scope: number for number, scope in enumerate(dict.fromkeys(item.scope for item in changes), 1)}
    lines = [(numbers[item.scope], item.field, item.seen, item.value) for item in changes]
    return Call("rebuild", tuple(numbers), (orjson.dumps(lines),))
