from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.usage.billing_period import billing_period, billing_periods


@pytest.mark.parametrize(
    ("moment", "period"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1)),
        (datetime(2026, 1, 31, 23, 59, 59, 999_999, UTC), date(2026, 1, 1)),
        (datetime(2028, 2, 29, 12, tzinfo=UTC), date(2028, 2, 1)),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), date(2026, 12, 1)),
    ],
)
def test_a_period_is_the_calendar_month(moment: datetime, period: date) -> None:
    assert billing_period(moment) == period


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_lies_in_its_own_period(moment: datetime) -> None:
    period = billing_period(moment)

    assert period.day == 1
    assert 0 <= (moment.date() - period).days <= 30
    assert billing_period(datetime(period.year, period.month, 1, tzinfo=UTC)) == period


@given(st.datetimes(min_value=datetime(2000, 2, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_periods_follow_each_other_without_a_gap(moment: datetime) -> None:
    periods = billing_periods(moment)

    assert periods.current == billing_period(moment)
    assert moment < periods.ends < periods.following_ends
    assert billing_periods(periods.ends).current == periods.following
    assert billing_periods(periods.ends).previous == periods.current
    assert billing_periods(periods.ends).ends == periods.following_ends
