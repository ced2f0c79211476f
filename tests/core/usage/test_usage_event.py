from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.principal import AccountId, KeyId
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import (
    LARGEST_NUMBER,
    MAX_TEXT_LENGTH,
    MAX_TOKENS,
    MalformedEvent,
    Outcome,
    UsageEvent,
    day_of,
    instant_of,
    read_fields,
)
from tests.fuzz import fuzz_usage_event

LAST_MILLISECOND = 253_402_300_799_999
"""Of the year 9999."""
IDS = st.integers(1, LARGEST_NUMBER)
NUMBERS = st.integers(0, LARGEST_NUMBER)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=MAX_TEXT_LENGTH)
EVENTS = st.builds(
    UsageEvent,
    event_id=st.uuids(),
    occurred_at=st.integers(0, LAST_MILLISECOND).map(instant_of),
    period=st.dates(),
    account_id=IDS,
    key_id=IDS,
    model=TEXTS,
    provider=TEXTS,
    target=TEXTS,
    upstream_request_id=TEXTS,
    usage=st.builds(TokenUsage, *[st.integers(0, MAX_TOKENS)] * 6),
    weights=st.tuples(*[NUMBERS] * 6),
    price_version=TEXTS,
    cost=NUMBERS,
    status=NUMBERS,
    outcome=st.sampled_from(Outcome),
    estimated=TEXTS,
    attempt=NUMBERS,
    stream=st.booleans(),
    latency_ms=NUMBERS,
    first_byte_ms=NUMBERS,
    owed=st.none() | NUMBERS,
).filter(lambda event: event.owed != event.cost)
EVENT = UsageEvent(
    event_id=UUID("01890000-0000-7000-8000-000000000001"),
    occurred_at=datetime(2026, 11, 20, 9, 0, 0, 123_000, UTC),
    period=date(2026, 11, 1),
    account_id=AccountId(7),
    key_id=KeyId(8),
    model="gpt-5",
    provider="openai",
    target="openai/gpt-5",
    upstream_request_id="chatcmpl-1",
    usage=TokenUsage(input=100, output=30),
    weights=(1000, 100, 1250, 2000, 1000, 1000),
    price_version="abc",
    cost=425_000,
    status=200,
    outcome=Outcome.COMPLETE,
    estimated="",
    attempt=1,
    stream=True,
    latency_ms=900,
    first_byte_ms=200,
)
FIELDS: dict[str, Any] = orjson.loads(replace(EVENT, owed=400_000).encode())
NO_VALUES: list[Any] = [None, [], {}, "", "x", -1, 1.5, True, 2**60, [1], {"a": 1}, "é\0", "x" * (MAX_TEXT_LENGTH + 1)]
ALLOWED: dict[str, list[Any]] = {
    **{name: ["", "x"] for name in ("model", "provider", "target", "upstream_id", "price", "estimated")},
    "stream": [True],
}
WRONG = [(name, value) for name in FIELDS for value in NO_VALUES if value not in ALLOWED.get(name, [])]


@given(EVENTS)
def test_an_event_reads_back_as_it_was_written(event: UsageEvent) -> None:
    assert UsageEvent.decode(event.encode()) == event


@given(EVENTS)
def test_its_day_is_the_day_of_its_moment(event: UsageEvent) -> None:
    milliseconds = read_fields(event.encode())["at"]

    assert day_of(milliseconds) == event.day == event.occurred_at.date()


def test_the_wire_form_of_version_1_never_changes() -> None:
    assert EVENT.encode() == (
        b'{"v":1,"id":"01890000-0000-7000-8000-000000000001","at":1795165200123,"period":"2026-11-01","account":7,'
        b'"key":8,"model":"gpt-5","provider":"openai","target":"openai/gpt-5","upstream_id":"chatcmpl-1",'
        b'"tokens":[100,0,0,0,30,0],"weights":[1000,100,1250,2000,1000,1000],"price":"abc","cost":425000,"status":200,'
        b'"outcome":"complete","estimated":"","attempt":1,"stream":true,"ms":900,"ttfb":200}'
    )


def test_every_field_of_an_event_is_on_the_wire() -> None:
    assert len(FIELDS) == len(fields(UsageEvent)) + 1


def test_what_is_owed_is_the_cost_unless_the_event_says_otherwise() -> None:
    owed = [read_fields(event.encode())["owed"] for event in (EVENT, replace(EVENT, owed=0))]

    assert owed == [EVENT.amount_owed, 0] == [425_000, 0]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_malformed(name: str, value: Any) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, name: value}))


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"owed"}))
def test_a_missing_field_is_malformed(name: str) -> None:
    rest = {key: value for key, value in FIELDS.items() if key != name}

    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps(rest))


@pytest.mark.parametrize("name", ["tokens", "weights"])
@pytest.mark.parametrize(
    "numbers",
    [[1] * 5, [1] * 7, [1, 1, 1, 1, 1, -1], [1, 1, 1, 1, 1, 1.0], [1, 1, 1, 1, 1, True], [1, 1, 1, 1, 1, None],
     [[1]] * 6, ["1"] * 6, [2**53] * 6],
)  # fmt: skip
def test_token_classes_are_six_whole_numbers(name: str, numbers: list[Any]) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, name: numbers}))


def test_more_tokens_than_any_answer_has_are_malformed() -> None:
    with pytest.raises(MalformedEvent, match="more than"):
        UsageEvent.decode(orjson.dumps({**FIELDS, "tokens": [0, 0, 0, 0, MAX_TOKENS + 1, 0]}))


@pytest.mark.parametrize("at", [LAST_MILLISECOND + 1, LARGEST_NUMBER])
def test_a_moment_beyond_the_calendar_is_malformed(at: int) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, "at": at}))


@pytest.mark.parametrize("version", [0, 2, 99, 1.0, True, "1", None, [1], {"a": 1}])
def test_a_version_that_nobody_has_written_is_malformed(version: Any) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, "v": version}))


@pytest.mark.parametrize(
    "period", ["2026-13-01", "2026-02-30", "20261101", "2026-W01-1", "11/01/2026", "\uff12\uff10\uff12\uff16-11-01"]
)
def test_a_period_is_a_date_as_we_write_it(period: str) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, "period": period}))


@pytest.mark.parametrize(
    "event_id", ["01890000000070008000000000000001", "{01890000-0000-7000-8000-000000000001}",
                 "01890000-0000-7000-8000-00000000000G", "01890000-0000-7000-8000-000000000001\n"],
)  # fmt: skip
def test_an_event_id_has_one_form_so_that_two_copies_are_equal(event_id: str) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(orjson.dumps({**FIELDS, "id": event_id}))


@pytest.mark.parametrize(
    "wire", [b"", b"null", b"[]", b"1", b'"v"', b"{}", b"{", b"\xff", b"[" * 5000, b'{"v":1}', b'{"v":1}' * 2]
)
def test_bytes_that_are_no_event_are_malformed(wire: bytes) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(wire)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(wire: bytes) -> None:
    with pytest.raises(MalformedEvent):
        UsageEvent.decode(wire)


def test_the_message_repeats_no_content() -> None:
    with pytest.raises(MalformedEvent) as caught:
        UsageEvent.decode(orjson.dumps({**FIELDS, "model": "a secret prompt" * 100}))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_to_an_event_is_more_than_malformed(seed: int) -> None:
    assert fuzz_usage_event.FUZZER.run(seconds=20, seed=seed, most=5_000) == 5_000


@given(st.integers(-(10**12), LAST_MILLISECOND))
def test_instants_are_exact_to_the_millisecond(milliseconds: int) -> None:
    assert instant_of(milliseconds) - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(milliseconds=milliseconds)
    assert day_of(milliseconds) == instant_of(milliseconds).date()
