"""Which billing period pays for what happens now. The rule stands here alone: who publishes an account tells Redis."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

__all__ = ["BillingPeriods", "billing_period", "billing_periods"]


@dataclass(frozen=True, slots=True)
class BillingPeriods:
    """A period is named by its first day. It ends where the next one begins."""

    previous: date
    """Events may still come for it."""
    current: date
    ends: datetime
    following: date
    following_ends: datetime


def billing_periods(moment: datetime) -> BillingPeriods:
    """The period that contains `moment` (aware UTC) and its neighbours: calendar months, as long as no subscription
    gives an account periods of its own."""
    current = billing_period(moment)
    following = _next_month(current)
    previous = billing_period(_midnight(current) - timedelta(days=1))
    return BillingPeriods(previous, current, _midnight(following), following, _midnight(_next_month(following)))


def billing_period(moment: datetime) -> date:
    """The first day of the period that contains `moment`."""
    return moment.date().replace(day=1)


def _next_month(first: date) -> date:
    return first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
