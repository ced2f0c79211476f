"""
Throws broken usage events at their reader.

Bytes are a usage event or malformed, never anything else; what is an event has one meaning: written again it reads the
same, and the ledger's columns fit.
"""

from datetime import UTC, date, datetime
from uuid import UUID

from core.principal import AccountId, KeyId
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import MAX_TOKENS, MalformedEvent, Outcome, UsageEvent, day_of, read_fields
from tests.fuzz.damage import Fuzzer


def fuzz_one(data: bytes) -> None:
    try:
        event = UsageEvent.decode(data)
    except MalformedEvent:
        return
    assert UsageEvent.decode(event.encode()) == event, data
    assert day_of(read_fields(data)["at"]) == event.day
    assert event.account_id > 0
    assert event.key_id > 0
    assert 0 <= event.cost < 2**53
    assert all(0 <= count <= MAX_TOKENS for count in event.usage.as_tuple())


def _event(outcome: Outcome, *, stream: bool, usage: TokenUsage) -> bytes:
    return UsageEvent(
        event_id=UUID("01890000-0000-7000-8000-000000000001"),
        occurred_at=datetime(2026, 11, 20, tzinfo=UTC),
        period=date(2026, 11, 1),
        account_id=AccountId(7),
        key_id=KeyId(8),
        model="gpt-5",
        provider="openai",
        target="openai/gpt-5",
        upstream_request_id="chatcmpl-é",
        usage=usage,
        weights=(1000, 100, 1250, 2000, 1000, 1000),
        price_version="abc",
        cost=425_000,
        status=200,
        outcome=outcome,
        estimated="" if outcome is Outcome.COMPLETE else outcome.value,
        attempt=1,
        stream=stream,
        latency_ms=900,
        first_byte_ms=200,
    ).encode()


CORPUS = [
    _event(outcome, stream=stream, usage=usage)
    for outcome in Outcome
    for stream in (True, False)
    for usage in (TokenUsage(), TokenUsage(1, 2, 3, 4, 5, 6))
]
FRAGMENTS = [
    b"null", b"true", b"-1", b"0", b"1", b"9" * 16, b"9" * 30, b"1e9", b"1.0", b"1e400", b"[]", b"{}", b'"', b",", b":",
    b"[" * 300, b'"v":1,', b'"v":2,', b'"at":0,', b'"at":253402300800000,', b'"key":0,', b'"period":"9999-12-31",',
    b'"\\ud800"', b'"\\u0000"', b"\\u0000", b"\0", b"\xff", b"x" * 600, b'"tokens":[0,0,0,0,0,0],', b'"cost":-0,',
]  # fmt: skip
FUZZER = Fuzzer(fuzz_one, CORPUS, FRAGMENTS)
