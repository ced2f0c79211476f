"""Which billing period pays for an event."""

from datetime import date, datetime

__all__ = ["billing_period"]


def billing_period(moment: datetime) -> date:
    """The first day of the period that contains `moment` (aware UTC): the calendar month, as long as no subscription
    gives an account a period of its own."""
    return moment.date().replace(day=1)
