"""
What one line of a spool file says: how a request ended, as an event. The Redis keys are not in it: whoever replays it
derives them, so a record outlives every change of the scripts. Pure.

    <CRC-32, 8 hex digits> {"v":1,"kind":"settlement","intent":false,"event":"<the event's wire form>"}

Whoever replays it settles the event: also one that says that nothing was used. To release the reservation would not be
enough, for the sweeper may have recorded an estimate, and Redis may have come back with a reservation that had ended.
An *intent* is the settlement of a request that is still under way, should this process die before it ends it.

Still read: the kind `release`, whose event says that nothing was used, and the first form of all, a call of a script:
`["settle" or "release", keys, arguments, intent]`.
"""

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from core.principal import AccountId, KeyId
from core.usage.billing_period import billing_period
from core.usage.token_usage import CLASSES, TokenUsage
from core.usage.usage_event import MalformedEvent, Outcome, UsageEvent

__all__ = ["DamagedRecord", "Record", "UnknownRecord", "read_record"]

VERSION = 1
KIND, KINDS_READ = "settlement", ("settlement", "release")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMESTAMP_SHIFT = 80
"""Bits of a UUIDv7 below its milliseconds."""


class DamagedRecord(ValueError):
    """The checksum does not fit: the power failed in the middle of a write."""


class UnknownRecord(ValueError):
    """A whole record that this version cannot read. The message says why and repeats no content."""


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Record:
    event: UsageEvent
    intent: bool = False

    @property
    def event_id(self) -> str:
        return str(self.event.event_id)

    def encode(self) -> bytes:
        """One line."""
        stored = {"v": VERSION, "kind": KIND, "intent": self.intent, "event": self.event.encode().decode()}
        text = orjson.dumps(stored)
        return b"%08x %b\n" % (zlib.crc32(text), text)


def read_record(line: bytes) -> Record:
    """Raises DamagedRecord or UnknownRecord."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise DamagedRecord("the checksum does not fit")
    try:
        stored = orjson.loads(text)
        if isinstance(stored, list):
            return _of_the_first_form(*stored)
        if stored["v"] != VERSION:
            raise UnknownRecord("a version that is not known here")
        if stored["kind"] not in KINDS_READ:
            raise UnknownRecord("a kind that is not known here")
        return Record(UsageEvent.decode(stored["event"]), stored["intent"] is True)
    except MalformedEvent as error:
        raise UnknownRecord(f"its event is malformed: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UnknownRecord):
            raise
        raise UnknownRecord(f"{type(error).__name__} while reading it") from None


def _of_the_first_form(script: str, keys: list[str], arguments: list[Any], intent: bool) -> Record:
    if script == "settle":
        return Record(UsageEvent.decode(arguments[4]), intent is True)
    if script == "release":
        return Record(_void(keys, UUID(arguments[0])), intent is True)
    raise UnknownRecord("a script that is not known here")


def _void(keys: list[str], event_id: UUID) -> UsageEvent:
    """No usage: as much of an event as the first form tells. The id holds the time of the request."""
    account, key = (int(name.rpartition(":")[2]) for name in keys[:2])
    occurred_at = EPOCH + timedelta(milliseconds=event_id.int >> TIMESTAMP_SHIFT)
    return UsageEvent(
        event_id=event_id,
        occurred_at=occurred_at,
        period=billing_period(occurred_at),
        account_id=AccountId(account),
        key_id=KeyId(key),
        model="",
        provider="",
        target="",
        upstream_request_id="",
        usage=TokenUsage(),
        weights=(0,) * len(CLASSES),
        price_version="",
        cost=0,
        status=0,
        outcome=Outcome.RELEASED,
        estimated="",
        attempt=0,
        stream=False,
        latency_ms=0,
        first_byte_ms=0,
    )
