"""
Everything the protocol can depend on, as nested tuples: two states are the same when they are equal.

Left out, because no step asks for it: limits per minute, keys beside their account (a scope of the same form), the
second period, what an event says beyond its kind and its cost. `pending` and `reserved` are sums here; that the scripts
keep their counters equal to these sums is shown by tests/core/test_lua_model.py.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from tests.model.vocabulary import NEW, UP

__all__ = [
    "Consumer",
    "Entry",
    "Gateway",
    "Ledger",
    "Letter",
    "Record",
    "Redis",
    "Request",
    "Reservation",
    "Row",
    "State",
    "initial",
    "next_number",
    "numbers_in",
    "put",
]

Item = TypeVar("Item")


class Request(NamedTuple):
    gateway: int
    phase: str = NEW
    trusted: bool = False
    granted: int = 0
    put_down: bool = False
    """Its connection was lost since its admission, or its lease could not be renewed."""

    @property
    def in_doubt(self) -> bool:
        return self.trusted or self.put_down


class Record(NamedTuple):
    """Of the spool: an INTENT, or an ending (EXACT, VOID for a release, ESTIMATE for an intent of a dead gateway)."""

    request: int
    kind: str


class Gateway(NamedTuple):
    frozen: bool = False
    link: str = UP
    disk_refuses: bool = False
    memory: tuple[Record, ...] = ()
    """What the disk did not take."""
    files: tuple[tuple[Record, ...], ...] = ()
    recent: tuple[Record, ...] = ()
    """Acknowledged by a Redis that may still lose it."""
    only_copy: bool = False
    """Holds what Redis has acknowledged and not written to its disk. Assumed to live until it is handed on."""


class Reservation(NamedTuple):
    held: int
    estimate: bool
    lease: int = 0
    """0 runs, or its gateway can't be reached; 1: Redis' clock has jumped; 2: nobody could renew it for a while."""


class Entry(NamedTuple):
    """Of the usage stream."""

    number: int
    request: int
    kind: str
    charged: int
    reader: int = 0
    """The consumer it was delivered to, from 1; 0: to none."""


class Redis(NamedTuple):
    reservations: tuple[Reservation | None, ...]
    stream: tuple[Entry, ...] = ()
    ledger: int = 0
    version: int = 0
    published: bool = True
    """For this very server."""


class Row(NamedTuple):
    kind: str
    charged: int


class Letter(NamedTuple):
    """A parked entry."""

    number: int
    request: int
    kind: str
    charged: int
    put_back: int = -1
    """The entry that a replay has put on the stream, until it is recorded, parked again or lost."""


class Ledger(NamedTuple):
    rows: tuple[Row | None, ...]
    letters: tuple[Letter, ...] = ()
    version: int = 0
    total_is_due: bool = False
    """A dead letter's replay has changed the total and not told Redis yet."""


class Consumer(NamedTuple):
    condition: str = "running"
    """running, frozen, or not started: the successor, before it is needed."""
    batch: tuple[Entry, ...] = ()
    committed: tuple[int, int] | None = None
    """Total and version that go with the confirmation."""


class State(NamedTuple):
    requests: tuple[Request, ...]
    gateways: tuple[Gateway, ...]
    redis: Redis
    ledger: Ledger
    consumers: tuple[Consumer, ...]
    orphans: tuple[tuple[Record, ...], ...] = ()
    """Spool files of dead gateways, oldest first."""
    refusing: bool = False
    """Redis answers every write with an error."""
    stalled: Redis | None = None
    """What is left when Redis dies now; None: everything."""
    deaths_left: int = 1
    """How often Redis may still die."""
    late: tuple[Record | int, ...] = ()
    """Commands that nobody waits for and Redis may still execute: an ending (RELEASE for one without an event), or the
    `admit` of a request."""


def initial(gateways: Iterable[int], deaths_of_redis: int) -> State:
    """One request at each of these gateways."""
    requests = tuple(Request(gateway) for gateway in gateways)
    nothing = (None,) * len(requests)
    return State(
        requests,
        (Gateway(), Gateway()),
        Redis(nothing),
        Ledger(nothing),
        (Consumer(), Consumer("not started")),
        deaths_left=deaths_of_redis,
    )


def put(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def next_number(state: State) -> int:
    return 1 + max(numbers_in(state), default=-1)


def numbers_in(state: State) -> set[int]:
    """Of all entries that anybody knows."""
    numbers = {entry.number for entry in state.redis.stream}
    if state.stalled is not None:
        numbers.update([entry.number for entry in state.stalled.stream])
    for consumer in state.consumers:
        if consumer.batch:
            numbers.update([entry.number for entry in consumer.batch])
    if state.ledger.letters:
        numbers.update([letter.number for letter in state.ledger.letters])
        numbers.update([letter.put_back for letter in state.ledger.letters if letter.put_back >= 0])
    return numbers
