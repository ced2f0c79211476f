"""Usage events for tests, all different and all valid until a test says otherwise."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from core.principal import AccountId, KeyId
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome, UsageEvent

__all__ = ["NOW", "PERIOD", "event", "many", "of_tomorrow", "served", "uuid7", "void_of"]

NOW = datetime.now(UTC).replace(microsecond=0)
PERIOD = NOW.date().replace(day=1)

DICE = random.Random(20)


def uuid7(moment: datetime = NOW) -> UUID:
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | DICE.getrandbits(12) << 64 | 2 << 62 | DICE.getrandbits(62))


def event(
    account: int = 1, key: int | None = None, *, at: datetime = NOW, cost: int = 1_000, **other: Any
) -> UsageEvent:
    """Keys follow from the account unless given: account 7 has keys 70, 71, …"""
    return replace(
        UsageEvent(
            event_id=uuid7(at),
            occurred_at=at,
            period=at.date().replace(day=1),
            account_id=AccountId(account),
            key_id=KeyId(account * 10 if key is None else key),
            model="gpt-5",
            provider="openai",
            target="openai/gpt-5-2026-01-01",
            upstream_request_id="chatcmpl-1",
            usage=TokenUsage(input=100, cache_read=20, output=30, reasoning=5),
            weights=(1000, 100, 1250, 2000, 1000, 1000),
            price_version="2026-11-01",
            cost=cost,
            status=200,
            outcome=Outcome.COMPLETE,
            estimated="",
            attempt=1,
            stream=True,
            latency_ms=1_200,
            first_byte_ms=300,
        ),
        **other,
    )


def of_tomorrow(item: UsageEvent) -> bytes:
    """The same in a version that nobody knows yet."""
    return orjson.dumps({**orjson.loads(item.encode()), "v": 99})


def many(number: int, *, accounts: int = 5, since: timedelta = timedelta(hours=1)) -> list[UsageEvent]:
    """Events of several accounts, keys, models and moments, the same in every run."""
    dice = random.Random(number)
    return [
        event(
            account := dice.randint(1, accounts),
            account * 10 + dice.randint(0, 1),
            at=NOW - dice.random() * since,
            cost=dice.randint(0, 10**6),
            model=dice.choice(["gpt-5", "claude-4"]),
        )
        for _ in range(number)
    ]


def first_of(day: date) -> date:
    return day.replace(day=1)


def void_of(item: UsageEvent) -> UsageEvent:
    return replace(item, usage=TokenUsage(), cost=0, outcome=Outcome.RELEASED, estimated="")


def served(item: UsageEvent, **other: Any) -> dict[str, Any]:
    """What the simulators write down of an event's call."""
    tokens = item.usage
    return {
        "client_request_id": str(item.event_id),
        "upstream_request_id": item.upstream_request_id,
        "outcome": "complete",
        "delivered_chunks": 3,
        "input_tokens": tokens.input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_5m_tokens": tokens.cache_write_5m,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        **other,
    }
