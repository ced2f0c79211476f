"""
One answered request, as it travels from the gateway through the usage stream into the ledger.

The wire form is JSON with a version `v`. A reader knows every version ever written; a field is never given another
meaning. The event's id, time, day and period are fixed when the request is admitted, so every later copy (a replay
from the spool, a second delivery, the sweeper's estimate) is a duplicate by construction.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from core.principal import AccountId, KeyId
from core.token_usage import TokenUsage

__all__ = ["MalformedEvent", "Outcome", "UsageEvent"]

VERSION = 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_TOKENS = 2**40
"""No answer has a trillion tokens: a larger count is a fault of the writer, not usage."""


class Outcome(StrEnum):
    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    UPSTREAM_FAILED = "upstream_failed"
    """The upstream died in the middle of an answer; the delivered part is metered."""
    CUT = "cut"
    """The gateway stopped in the middle of an answer (shutdown, lost lease)."""


class MalformedEvent(ValueError):
    """The bytes are no usage event. They are parked as a dead letter, never dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """Thousandths by which a token of each class counts, in the order of `core.token_usage.CLASSES`."""
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

    @property
    def day(self) -> date:
        """The partition of the ledger it belongs to."""
        return self.occurred_at.date()

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "v": VERSION,
                "id": self.event_id,
                "at": round((self.occurred_at - EPOCH) / timedelta(milliseconds=1)),
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
            }
        )

    @classmethod
    def decode(cls, wire: bytes) -> "UsageEvent":
        """Raises MalformedEvent, whose message says what is wrong and repeats no content."""
        try:
            fields = orjson.loads(wire)
            event = READERS[fields["v"]](fields)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise MalformedEvent(f"{type(error).__name__} while reading the fields") from error
        _require_sane(event)
        return event


def _read_version_1(fields: dict[str, Any]) -> UsageEvent:
    return UsageEvent(
        event_id=UUID(fields["id"]),
        occurred_at=EPOCH + timedelta(milliseconds=fields["at"]),
        period=date.fromisoformat(fields["period"]),
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
    )


READERS = {1: _read_version_1}


def _require_sane(event: UsageEvent) -> None:
    counts = event.usage.as_tuple()
    if not all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts):
        raise MalformedEvent("a token count is negative, absurd or no whole number")
    whole = (event.account_id, event.key_id, event.cost, event.status, event.attempt, event.latency_ms)
    if not all(type(number) is int and 0 <= number < 2**53 for number in (*whole, event.first_byte_ms, *event.weights)):
        raise MalformedEvent("a number is negative, absurd or no whole number")
    if len(event.weights) != len(counts):
        raise MalformedEvent("weights and token classes differ in number")
    texts = (event.model, event.provider, event.target, event.upstream_request_id, event.price_version, event.estimated)
    if not all(isinstance(text, str) and len(text) <= 512 and "\0" not in text for text in texts):
        raise MalformedEvent("a name is no text, too long or holds a NUL")
