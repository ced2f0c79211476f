"""
One answered request, as it travels from the gateway through the usage stream into the ledger.

The wire form is JSON with a version `v`. A reader knows every version ever written; a field is never given another
meaning. The fields `id`, `account`, `key`, `period` and `estimated` are in every version, past and to come, under
these names: an older reader that parks an event of tomorrow still knows which it is (`read_identity`) and whose it is
(`read_claim`).

The event's id, time, day and period are fixed when the request is admitted, so every later copy (a replay from the
spool, a second delivery, the sweeper's estimate) is known as one.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from core.principal import AccountId, KeyId
from core.usage.token_usage import CLASSES, TokenUsage

__all__ = [
    "GATEWAY_LOST",
    "LARGEST_NUMBER",
    "MAX_TEXT_LENGTH",
    "Claim",
    "MalformedEvent",
    "Outcome",
    "UsageEvent",
    "day_of",
    "instant_of",
    "read_claim",
    "read_fields",
    "read_identity",
    "with_period",
]

VERSION = 1
GATEWAY_LOST = "gateway_lost"
"""Why the counts of an estimate are ours: its gateway did not end it. An event with any other reason, or none, was
settled by the gateway itself; the ledger prefers it."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MAX_TOKENS = 2**40
"""No answer has a trillion tokens: a larger count is a fault of the writer, not usage."""
LARGEST_NUMBER = 2**53 - 1
"""Redis scripts count in doubles."""
DAY_MILLISECONDS = 86_400_000
MAX_TEXT_LENGTH = 512
numbers_of = itemgetter("account", "key", "at", "cost", "owed", "status", "attempt", "ms", "ttfb")
texts_of = itemgetter("model", "provider", "target", "upstream_id", "price", "estimated")
WHOLE, TEXT = {int}, {str}
is_uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


class Outcome(StrEnum):
    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    UPSTREAM_FAILED = "upstream_failed"
    """The upstream died in the middle of an answer; the delivered part is metered."""
    CUT = "cut"
    """The gateway stopped in the middle of an answer (shutdown, lost lease)."""
    RELEASED = "released"
    """No upstream was asked, but the reservation was gone when it was to be given back: nothing used, nothing owed. The
    event replaces the estimate that the sweeper may have recorded."""


class MalformedEvent(ValueError):
    """The bytes are no usage event. They are parked as a dead letter, never dropped."""


class Claim(NamedTuple):
    """What an event of any version says about whom it concerns."""

    account_id: AccountId
    key_id: KeyId
    period: date
    owed: int


@dataclass(slots=True, kw_only=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class UsageEvent:
    event_id: UUID
    """UUIDv7, drawn at admission; also the request id that the client sees."""
    occurred_at: datetime
    """When the request was admitted, aware UTC, to the millisecond."""
    period: date
    """First day of the billing period that pays for it."""
    account_id: AccountId
    key_id: KeyId
    model: str
    """As the client asked for it."""
    provider: str
    target: str
    """`<provider>/<the upstream's own name of the model>`."""
    upstream_request_id: str
    usage: TokenUsage
    weights: tuple[int, ...]
    """Thousandths by which a token of each class counts, in the order of `core.usage.token_usage.CLASSES`."""
    price_version: str
    cost: int
    """What the answer costs by the price table, in nano-dollars."""
    status: int
    outcome: Outcome
    estimated: str
    """Why the counts are ours and not the upstream's; empty when the upstream reported them."""
    attempt: int
    """Which upstream attempt answered, from 1."""
    stream: bool
    latency_ms: int
    first_byte_ms: int
    owed: int | None = None
    """What the customer owes for it, in nano-dollars, where that is not the cost."""

    @property
    def amount_owed(self) -> int:
        return self.cost if self.owed is None else self.owed

    @property
    def day(self) -> date:
        """The partition of the ledger it belongs to."""
        return self.occurred_at.date()

    def encode(self) -> bytes:
        optional = {} if self.owed is None else {"owed": self.owed}
        return orjson.dumps(
            {
                "v": VERSION,
                "id": str(self.event_id),
                "at": (self.occurred_at - EPOCH) // MILLISECOND,
                "period": self.period,
                "account": self.account_id,
                "key": self.key_id,
                "model": self.model,
                "provider": self.provider,
                "target": self.target,
                "upstream_id": self.upstream_request_id,
                "tokens": self.usage.as_tuple(),
                "weights": self.weights,
                "price": self.price_version,
                "cost": self.cost,
                "status": self.status,
                "outcome": self.outcome,
                "estimated": self.estimated,
                "attempt": self.attempt,
                "stream": self.stream,
                "ms": self.latency_ms,
                "ttfb": self.first_byte_ms,
                **optional,
            }
        )

    @classmethod
    def decode(cls, wire: bytes) -> "UsageEvent":
        """Raises MalformedEvent, whose message says what is wrong and repeats no content."""
        fields = read_fields(wire)
        return cls(
            event_id=UUID(fields["id"]),
            occurred_at=instant_of(fields["at"]),
            period=fields["period"],
            account_id=AccountId(fields["account"]),
            key_id=KeyId(fields["key"]),
            model=fields["model"],
            provider=fields["provider"],
            target=fields["target"],
            upstream_request_id=fields["upstream_id"],
            usage=TokenUsage(*fields["tokens"]),
            weights=tuple(fields["weights"]),
            price_version=fields["price"],
            cost=fields["cost"],
            status=fields["status"],
            outcome=Outcome(fields["outcome"]),
            estimated=fields["estimated"],
            attempt=fields["attempt"],
            stream=fields["stream"],
            latency_ms=fields["ms"],
            first_byte_ms=fields["ttfb"],
            owed=None if fields["owed"] == fields["cost"] else fields["owed"],
        )


def read_fields(wire: bytes) -> dict[str, Any]:
    """The fields of the wire form, checked and in the newest version's form; `period` is a date.

    The one place that decides what is a usage event. The ledger reads its columns from here, ten times faster than
    from UsageEvent objects. Raises MalformedEvent."""
    try:
        fields = orjson.loads(wire)
        version = fields["v"]
        if type(version) is not int:  # True and 1.0 would be found under 1.
            raise MalformedEvent("the version is no whole number")
        READERS[version](fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, MalformedEvent):
            raise
        raise MalformedEvent(f"{type(error).__name__} while reading the fields") from error
    return fields  # type: ignore[no-any-return]  # A dict: it has been read by its names.


def read_claim(wire: bytes) -> Claim | None:
    """Of an event of any version, those not written yet included; None of what names no account."""
    try:
        fields = orjson.loads(wire)
        numbers = fields["account"], fields["key"], fields.get("owed", fields.get("cost", 0))
        _require_whole(numbers)
        _require_ids(fields)
        return Claim(AccountId(numbers[0]), KeyId(numbers[1]), _date(fields["period"]), numbers[2])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def read_identity(wire: bytes) -> tuple[str, bool] | None:
    """Event id, and whether it is the sweeper's estimate; of any version, too. None of what has no event id."""
    try:
        fields = orjson.loads(wire)
        event_id = fields["id"]
        return (event_id, fields.get("estimated") == GATEWAY_LOST) if is_uuid(event_id) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def with_period(wire: bytes, period: str) -> bytes:
    """An event of any version, moved to another billing period; unchanged where there is nothing to move."""
    try:
        fields = orjson.loads(wire)
        if fields["period"] == period:
            return wire
        fields["period"] = period
        return orjson.dumps(fields)
    except (KeyError, TypeError, ValueError):
        return wire


def instant_of(milliseconds: int) -> datetime:
    """Aware UTC, of milliseconds since 1970."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def day_of(milliseconds: int) -> date:
    """The same as `instant_of(milliseconds).date()`, but a lookup: events come in days, not in centuries."""
    return _day(milliseconds // DAY_MILLISECONDS)


def _check_version_1(fields: dict[str, Any]) -> None:
    tokens, weights = fields["tokens"], fields["weights"]
    fields.setdefault("owed", fields["cost"])
    if type(tokens) is not list or type(weights) is not list or not len(tokens) == len(weights) == len(CLASSES):
        raise MalformedEvent(f"tokens and weights are not one number for each of the {len(CLASSES)} token classes")
    _require_whole((*numbers_of(fields), *tokens, *weights))
    _require_ids(fields)
    if max(tokens) > MAX_TOKENS:
        raise MalformedEvent(f"more than {MAX_TOKENS} tokens")
    _require_texts(texts_of(fields))
    if fields["outcome"] not in OUTCOMES or type(fields["stream"]) is not bool:
        raise MalformedEvent("outcome or stream is none of the known values")
    if not is_uuid(fields["id"]):
        raise MalformedEvent("the event id is no UUID")
    day_of(fields["at"])
    fields["period"] = _date(fields["period"])


READERS = {1: _check_version_1}
OUTCOMES = frozenset(outcome.value for outcome in Outcome)


def _require_whole(numbers: tuple[Any, ...]) -> None:
    if set(map(type, numbers)) != WHOLE or min(numbers) < 0 or max(numbers) > LARGEST_NUMBER:
        raise MalformedEvent("a number is negative, absurd or not whole")


def _require_ids(fields: dict[str, Any]) -> None:
    if fields["account"] == 0 or fields["key"] == 0:
        raise MalformedEvent("account and key ids start at 1")  # The ledger's key 0 is the account as a whole.


def _require_texts(texts: tuple[Any, ...]) -> None:
    if set(map(type, texts)) != TEXT or max(map(len, texts)) > MAX_TEXT_LENGTH or "\0" in "".join(texts):
        raise MalformedEvent("a name is no text, too long or holds a NUL")


@lru_cache(maxsize=1024)
def _date(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text:  # "20261101" would be the same month to Postgres and another field to Redis.
        raise MalformedEvent("the period is not written as YYYY-MM-DD")
    return day


@lru_cache(maxsize=1024)
def _day(number: int) -> date:
    return EPOCH.date() + timedelta(days=number)
