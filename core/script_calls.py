"""
One function for each script of `core/lua`: typed arguments in, the `Call` to send out. Whoever calls a script, a
service or a test, builds the call here, so the order of a script's keys and arguments stands in two places: in its
header and in this file. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from core.lua_scripts import Argument, Call
from core.redis_keys import CONSUMER_GROUP, ReservationKeys
from core.usage_event import UsageEvent

__all__ = [
    "ConfirmedEntry",
    "CounterChange",
    "LedgerTotal",
    "PublishedTotal",
    "admit",
    "confirm",
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
    fewest_output_tokens: int,
    output_cost: int,
    choices: int,
    event: bytes,
) -> Call:
    """`epoch` is the `run_id` of the server that this connection leads to. `event` is recorded if nobody ends the
    reservation: an estimate."""
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
            fewest_output_tokens,
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


@dataclass(slots=True)  # Not frozen: the ledger makes one for each event, and freezing it would triple what that costs.
class ConfirmedEntry:
    """A stream entry that the ledger has. `account` and `key` are None for one that could not be read."""

    entry_id: str
    charged: int = 0
    period: str = ""
    account: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerTotal:
    """What the ledger holds of a scope in a period; a smaller version never overwrites a larger one."""

    scope: str
    period: str
    charged: int
    version: int


def confirm(stream: str, entries: Sequence[ConfirmedEntry], totals: Sequence[LedgerTotal]) -> Call:
    numbers: dict[str | None, int] = {None: 0}

    def number(scope: str | None) -> int:
        return numbers.setdefault(scope, len(numbers))

    lines = [
        (entry.entry_id, entry.charged, entry.period, number(entry.account), number(entry.key)) for entry in entries
    ]
    sums = [(number(total.scope), total.period, str(total.charged), total.version) for total in totals]
    scopes = [scope for scope in numbers if scope is not None]
    return Call("confirm", (stream, *scopes), (CONSUMER_GROUP, orjson.dumps(lines), orjson.dumps(sums)))


def replay(
    stream: str,
    fields: Mapping[bytes, bytes],
    *,
    scopes: tuple[str, ...] = (),
    period: str = "",
    charged: int = 0,
    before: str = "",
) -> Call:
    """`fields` are the entry's. Without scopes its amount is added to nothing: nobody can read whose it is. `before`:
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
