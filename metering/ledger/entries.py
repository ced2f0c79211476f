"""
What the consumer reads from a usage stream, and what the ledger makes of it.

An entry has three fields: `e` the usage event, `c` the nano-dollars charged and `w` the nano-dollars waived when the
gateway settled it. `usage_row` turns it into one row of `usage_events`, or says why it is none.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from core.principal import AccountId, KeyId
from core.redis.keys import ShardKeys
from core.usage.usage_event import (
    LARGEST_NUMBER,
    MalformedEvent,
    day_of,
    instant_of,
    read_claim,
    read_fields,
    read_identity,
)

__all__ = ["COLUMNS", "Amount", "DeadLetter", "Entry", "TimeBounds", "UsageRow", "amount_of", "usage_row"]


class Entry(NamedTuple):
    shard: ShardKeys
    entry_id: bytes
    fields: dict[bytes, bytes]


class Amount(NamedTuple):
    """What an entry has charged, and to whom."""

    account_id: AccountId
    key_id: KeyId
    period: date
    charged_nano_usd: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    entry: Entry
    reason: str

    @property
    def amount(self) -> Amount | None:
        return amount_of(self.entry)

    @property
    def identity(self) -> tuple[str, bool] | None:
        """Event id, and whether it is an estimate. None where the entry has no event id."""
        return read_identity(self.entry.fields.get(b"e", b""))


class UsageRow(NamedTuple):
    """One row of `usage_events` as COPY takes it; the field names are the column names."""

    event_id: str
    day: date
    occurred_at: datetime
    period: date
    account_id: AccountId
    key_id: KeyId
    model: str
    provider: str
    target: str
    upstream_request_id: str
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    weights: str
    """An array as Postgres writes it: COPY would spend more time on six small numbers than on all the rest."""
    price_version: str
    cost_nano_usd: int
    owed_nano_usd: int
    charged_nano_usd: int
    waived_nano_usd: int
    status: int
    outcome: str
    estimated: str
    attempt: int
    stream: bool
    latency_ms: int
    first_byte_ms: int


COLUMNS = UsageRow._fields
source_of = itemgetter("period", "account", "key", "model", "provider", "target", "upstream_id")
answer_of = itemgetter("status", "outcome", "estimated", "attempt", "stream", "ms", "ttfb")


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Which days the ledger takes. A clock that jumped must not create partitions for years to come."""

    first: date
    last: date

    @classmethod
    def around(cls, now: datetime, *, past_days: int, future_days: int) -> "TimeBounds":
        return cls(now.date() - timedelta(days=past_days), now.date() + timedelta(days=future_days))

    def objection(self, day: date) -> str:
        """Why the ledger does not take an event of this day; empty when it does."""
        if day < self.first:
            return f"the event is older than {self.first}, the first day that the ledger takes"
        if day > self.last:
            return f"the event is from the future: the last day that the ledger takes is {self.last}"
        return ""


def usage_row(entry: Entry) -> UsageRow:
    """Raises MalformedEvent."""
    try:
        wire, charged, waived = entry.fields[b"e"], entry.fields[b"c"], entry.fields[b"w"]
    except KeyError as error:
        raise MalformedEvent(f"the entry has no field {error.args[0].decode()}") from error
    charged_nano_usd, waived_nano_usd = _nano_usd(charged), _nano_usd(waived)
    event: dict[str, Any] = read_fields(wire)
    if charged_nano_usd + waived_nano_usd != event["owed"]:
        raise MalformedEvent("c + w is not what the event says is owed")
    at = event["at"]
    columns = (
        event["id"],
        day_of(at),
        instant_of(at),
        *source_of(event),
        *event["tokens"],
        _array(tuple(event["weights"])),
        event["price"],
        event["cost"],
        event["owed"],
        charged_nano_usd,
        waived_nano_usd,
        *answer_of(event),
    )
    return UsageRow._make(columns)


def amount_of(entry: Entry) -> Amount | None:
    """Of an entry that the ledger may not be able to read; None of one that does not name its account."""
    claim = read_claim(entry.fields.get(b"e", b""))
    try:
        charged = _nano_usd(entry.fields.get(b"c", b""))
    except MalformedEvent:
        return None
    return Amount(claim.account_id, claim.key_id, claim.period, charged) if claim else None


def _nano_usd(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > MAX_DIGITS or (number := int(digits)) > LARGEST_NUMBER:
        raise MalformedEvent("c or w is no whole number of nano-dollars")
    return number


@lru_cache(maxsize=1024)
def _array(numbers: tuple[int, ...]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


MAX_DIGITS = len(str(LARGEST_NUMBER))
