"""Usage events of one account by short names, and what of them has reached a Redis."""

from typing import Any

from core.principal import AccountId, KeyId
from core.redis.keys import ReservationKeys, ShardKeys
from core.usage.event_id import event_id
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome, UsageEvent, instant_of
from gateway.spool.record import Record
from tests.harness.servers import valkey

ACCOUNT = AccountId(7)
SHARDS = 4
NOW_MS = 1_780_000_000_000


def event(name: str, *, account: AccountId = ACCOUNT, estimated: str = "", outcome: Outcome = Outcome.COMPLETE) -> Any:
    """The same name is the same event; `estimated` is what tells its copies apart."""
    occurred_at = instant_of(NOW_MS)
    return UsageEvent(
        event_id=event_id(NOW_MS, name.encode().rjust(10, b"\0")[:10]),
        occurred_at=occurred_at,
        period=occurred_at.date().replace(day=1),
        account_id=account,
        key_id=KeyId(1),
        model="gpt",
        provider="p",
        target="p/gpt",
        upstream_request_id=name,
        usage=TokenUsage() if outcome is Outcome.RELEASED else TokenUsage(input=10, output=5),
        weights=(1000,) * 6,
        price_version="v1",
        cost=0 if outcome is Outcome.RELEASED else 15,
        status=200,
        outcome=outcome,
        estimated=estimated,
        attempt=1,
        stream=False,
        latency_ms=1,
        first_byte_ms=1,
    )


def settlement(name: str, **more: Any) -> Record:
    return Record(event(name, **more))


def intent(name: str) -> Record:
    return Record(event(name, estimated="gateway_lost"), intent=True)


def void(name: str) -> Record:
    return Record(event(name, outcome=Outcome.RELEASED))


def keys_of(name: str) -> ReservationKeys:
    return ReservationKeys.of(ACCOUNT, KeyId(1), event(name).event_id, SHARDS)


async def events(url: str) -> list[UsageEvent]:
    """On the account's stream, oldest first."""
    async with valkey(url) as client:
        entries: Any = await client.xrange(ShardKeys.of(ACCOUNT, SHARDS).usage_stream)
    return [UsageEvent.decode(fields[b"e"]) for _, fields in entries]


async def settlement_names(url: str) -> list[str]:
    """The names of the events on the account's stream, oldest first."""
    return [one.upstream_request_id for one in await events(url)]
