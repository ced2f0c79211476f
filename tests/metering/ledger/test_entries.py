from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.redis.keys import ShardKeys
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import LARGEST_NUMBER, MalformedEvent, UsageEvent
from metering.ledger.entries import COLUMNS, Entry, TimeBounds, UsageRow, amount_of, usage_row
from tests.metering.events import event

SHARD = ShardKeys("{s00}")


def entry(wire: bytes, charged: bytes = b"1000", waived: bytes = b"0") -> Entry:
    return Entry(SHARD, b"1-0", {b"e": wire, b"c": charged, b"w": waived})


def row_of(item: UsageEvent, charged: int, waived: int) -> UsageRow:
    """The slow way, from the object."""
    columns = (
        str(item.event_id),
        item.day,
        item.occurred_at,
        item.period,
        item.account_id,
        item.key_id,
        item.model,
        item.provider,
        item.target,
        item.upstream_request_id,
        *item.usage.as_tuple(),
        "{" + ",".join(map(str, item.weights)) + "}",
        item.price_version,
        item.cost,
        item.amount_owed,
        charged,
        waived,
        item.status,
        item.outcome.value,
        item.estimated,
        item.attempt,
        item.stream,
        item.latency_ms,
        item.first_byte_ms,
    )
    return UsageRow._make(columns)


VALID: dict[str, Any] = orjson.loads(event().encode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MUTATED = st.builds(lambda name, value: orjson.dumps({**VALID, name: value}), st.sampled_from(sorted(VALID)), JSON)
LACKING = st.sampled_from(sorted(VALID)).map(
    lambda name: orjson.dumps({other: value for other, value in VALID.items() if other != name})
)


@given(st.binary(max_size=200) | JSON.map(orjson.dumps) | MUTATED | LACKING)
@example(orjson.dumps({**VALID, "id": VALID["id"].replace("-", "")}))
@example(orjson.dumps({**VALID, "period": "20261101"}))
@example(orjson.dumps({**VALID, "at": 2**53 - 1}))
@example(orjson.dumps({**VALID, "tokens": [True] * 6}))
@example(orjson.dumps({**VALID, "outcome": []}))
@example(orjson.dumps({**VALID, "model": "a\0b"}))
def test_the_row_and_the_event_agree_on_any_bytes(wire: bytes) -> None:
    charged = 1000
    try:
        item = UsageEvent.decode(wire)
        charged = item.amount_owed
        expected: UsageRow | None = row_of(item, charged, 0)
    except MalformedEvent:
        expected = None

    try:
        row: UsageRow | None = usage_row(entry(wire, b"%d" % charged))
    except MalformedEvent:
        row = None

    assert row == expected


@given(
    st.integers(1, 2**53 - 1),
    st.lists(st.integers(0, 2**40), min_size=6, max_size=6),
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001  # Made aware below.
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100),
)
def test_every_event_that_can_be_written_can_be_read(
    number: int, tokens: list[int], moment: datetime, name: str
) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    item = event(number, number, at=moment, usage=TokenUsage(*tokens), model=name, cost=number)

    assert UsageEvent.decode(item.encode()) == item
    assert usage_row(entry(item.encode(), b"%d" % number)) == row_of(item, number, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"account": 0}, "ids start at 1"),
        ({"key": 0}, "ids start at 1"),
        ({"cost": -1}, "negative"),
        ({"cost": 1.5}, "not whole"),
        ({"tokens": [2**41, 0, 0, 0, 0, 0]}, "tokens"),
        ({"tokens": [1, 2]}, "token classes"),
        ({"weights": [1] * 7}, "token classes"),
        ({"model": "m" * 513}, "too long"),
        ({"model": "a\0"}, "NUL"),
        ({"outcome": "fine"}, "outcome"),
        ({"stream": 1}, "stream"),
        ({"id": "request-1"}, "UUID"),
        ({"period": "November"}, "ValueError"),
        ({"v": 2}, "KeyError"),
    ],
)
def test_a_malformed_event_is_refused_with_a_reason_that_repeats_no_content(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MalformedEvent, match=reason) as refusal:
        usage_row(entry(orjson.dumps({**VALID, **change})))

    assert "m" * 100 not in str(refusal.value)


@pytest.mark.parametrize(
    ("charged", "waived"), [(b"", b"0"), (b"-1", b"0"), (b"1", b"1.0"), (b"9" * 16, b"0"), (b"9" * 9999, b"0")]
)
def test_amounts_are_whole_numbers(charged: bytes, waived: bytes) -> None:
    with pytest.raises(MalformedEvent, match="nano-dollars"):
        usage_row(entry(event().encode(), charged, waived))


def test_an_amount_may_be_as_large_as_an_event_can_say() -> None:
    """One bound for both: an event of more than a million dollars was refused."""
    item = event(cost=LARGEST_NUMBER)

    row = usage_row(entry(item.encode(), b"%d" % (LARGEST_NUMBER - 5), b"5"))

    assert (row.charged_nano_usd, row.waived_nano_usd) == (LARGEST_NUMBER - 5, 5)


def test_amounts_that_are_not_what_is_owed_are_refused() -> None:
    with pytest.raises(MalformedEvent, match="owed"):
        usage_row(entry(event(cost=1000).encode(), b"1000", b"1"))


OF_TOMORROW = orjson.dumps({"v": 99, "account": 7, "key": 70, "period": "2026-11-01", "cost": 5, "new": {}})


def test_whose_amount_it_is_can_be_read_from_an_event_of_any_version() -> None:
    assert amount_of(entry(OF_TOMORROW, b"4")) == (7, 70, date(2026, 11, 1), 4)


@pytest.mark.parametrize("wire", [b"", b"{", b"[]", b"7", b'{"v":1}', OF_TOMORROW.replace(b":7,", b":0,")])
def test_an_entry_that_names_no_account_has_no_amount(wire: bytes) -> None:
    assert amount_of(entry(wire)) is None


def test_an_entry_whose_amount_cannot_be_read_has_none() -> None:
    assert amount_of(entry(OF_TOMORROW, b"much")) is None


def test_an_entry_without_an_amount_is_refused() -> None:
    with pytest.raises(MalformedEvent, match=r"no field c$"):
        usage_row(Entry(SHARD, b"1-0", {b"e": event().encode()}))


@pytest.mark.parametrize(
    ("day", "word"),
    [
        (date(2025, 10, 15), "older"),
        (date(2025, 10, 16), ""),
        (date(2026, 11, 20), ""),
        (date(2026, 11, 22), ""),
        (date(2026, 11, 23), "future"),
    ],
)
def test_the_ledger_takes_events_of_the_last_400_days_and_the_next_two(day: date, word: str) -> None:
    bounds = TimeBounds.around(datetime(2026, 11, 20, 23, 59, tzinfo=UTC), past_days=400, future_days=2)

    objection = bounds.objection(day)

    assert (word in objection) if word else (objection == "")


def test_the_columns_are_those_of_the_row() -> None:
    row = usage_row(entry(replace(event(), model="m").encode()))

    assert dict(zip(COLUMNS, row, strict=True))["model"] == "m"
