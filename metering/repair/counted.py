"""
What the stream and the live reservations of a shard say about each scope, and where the scope's counters differ. Pure.

    pending:<period>       sum of `c` of the entries in the usage stream
    reserved, in_flight    sum and number of the live reservations
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from metering.ledger.entries import Entry, amount_of
from metering.ledger.scopes import CounterDifference

__all__ = ["Counted", "outdated"]

PENDING = "pending:"


@dataclass(slots=True)
class Counted:
    """By the name of the scope; `pending` by its field as well."""

    pending: dict[str, Counter[str]] = field(default_factory=dict)
    reserved: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)

    def add_entry(self, entry: Entry) -> None:
        amount = amount_of(entry)
        if amount is None:
            return  # Whose it is can't be known.
        shard = entry.shard
        for scope in (shard.account(amount.account_id), shard.key(amount.key_id)):
            of_scope = self.pending.setdefault(scope, Counter())
            of_scope[f"{PENDING}{amount.period}"] += amount.charged_nano_usd

    def add_reservation(self, cost: int, account: str, key: str) -> None:
        for scope in (account, key):
            self.reserved[scope] += cost
            self.in_flight[scope] += 1

    def differences(self, scope: str, stored: Mapping[str, str]) -> list[CounterDifference]:
        """`stored` are the fields of its hash."""
        expected = {name: 0 for name in stored if name.startswith(PENDING)}
        expected |= self.pending.get(scope, {})
        expected |= {"reserved": self.reserved[scope], "in_flight": self.in_flight[scope]}
        return [
            CounterDifference(scope, name, int(stored.get(name, 0)), value)
            for name, value in sorted(expected.items())
            if int(stored.get(name, 0)) != value
        ]


def outdated(stored: Mapping[str, str], oldest_period: str) -> list[str]:
    """The fields of periods before that one, once nothing is pending in them."""
    found = []
    for name in stored:
        _, colon, period = name.partition(":")
        if colon and period < oldest_period and stored.get(PENDING + period, "0") == "0":
            found.append(name)
    return found
