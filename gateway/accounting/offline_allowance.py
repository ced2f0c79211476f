"""
What may still be served while Redis is away: keys that were admitted here a short while ago, up to a bounded amount
for each account. So a restart of Redis stops no customer, and costs each at most the allowance. Pure: the clock is an
argument.
"""

import math
from collections import OrderedDict
from datetime import date

from core.principal import AccountId, KeyId, Principal

__all__ = ["OfflineAllowance"]

MAX_KEYS = 100_000


class OfflineAllowance:
    """`limit` in nano-dollars for each account and process; `memory` in seconds."""

    def __init__(self, *, limit: int, memory: float) -> None:
        self._limit = limit
        self._memory = memory
        self._admitted: OrderedDict[KeyId, tuple[float, date]] = OrderedDict()
        self._spent: dict[AccountId, int] = {}

    def remember(self, principal: Principal, period: date, now: float) -> None:
        """Redis has admitted this key; `period` pays for it."""
        self._admitted[principal.key_id] = now, period
        self._admitted.move_to_end(principal.key_id)
        if len(self._admitted) > MAX_KEYS:
            self._admitted.popitem(last=False)

    def forget(self, principal: Principal) -> None:
        """Redis has refused this key: what was remembered no longer holds."""
        self._admitted.pop(principal.key_id, None)

    def admit(self, principal: Principal, cost: int, now: float) -> date | None:
        """Take `cost` from the account's allowance and return the period that pays, or say no."""
        admitted_at, period = self._admitted.get(principal.key_id, (-math.inf, None))
        spent = self._spent.get(principal.account_id, 0)
        if now - admitted_at > self._memory or spent + cost > self._limit:
            return None
        self._spent[principal.account_id] = spent + cost
        return period

    def correct(self, principal: Principal, reserved: int, actual: int) -> None:
        """An answer admitted here has ended: what it really cost replaces the bound."""
        spent = self._spent.get(principal.account_id)
        if spent is not None:  # An answer of an earlier outage gives back what this one never took.
            self._spent[principal.account_id] = max(0, spent + actual - reserved)

    def used(self, principal: Principal) -> bool:
        """Whether the account was served while Redis could not count."""
        return principal.account_id in self._spent

    def give_back(self, principal: Principal) -> None:
        """Redis counts the account again, and has all that was served without it."""
        self._spent.pop(principal.account_id, None)
