"""The scopes of Redis (core/redis/keys.py) as metering compares them: an account as a whole, or one of its keys."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from core.principal import AccountId, KeyId
from core.redis.keys import ShardKeys
from core.redis.script_calls import Confirmation
from metering.ledger.aggregates import WHOLE_ACCOUNT, PeriodTotal

__all__ = ["CounterDifference", "Scope", "add_total", "in_parts"]

PART = 500
"""Scopes in one script call or one pipeline."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Scope:
    """An account (`key_id` 0) or a key of it."""

    account_id: AccountId
    key_id: KeyId
    shard: ShardKeys

    @property
    def name(self) -> str:
        return _name(self.shard, self.account_id, self.key_id)


def add_total(confirmation: Confirmation, shard: ShardKeys, total: PeriodTotal) -> None:
    name = _name(shard, total.account_id, total.key_id)
    confirmation.add_total(name, total.period.isoformat(), total.charged, total.version)


@dataclass(frozen=True, slots=True)
class CounterDifference:
    scope: str
    field: str
    stored: int
    expected: int

    def __str__(self) -> str:
        return f"{self.scope} {self.field} is {self.stored}, should be {self.expected}"


def in_parts(items: Iterable[Item], scope_of: Callable[[Item], Scope]) -> Iterator[tuple[ShardKeys, list[Item]]]:
    """A few hundred of one shard at a time."""
    by_shard: dict[ShardKeys, list[Item]] = {}
    for item in items:
        by_shard.setdefault(scope_of(item).shard, []).append(item)
    for shard, members in by_shard.items():
        rest = iter(members)
        while part := list(islice(rest, PART)):
            yield shard, part


def _name(shard: ShardKeys, account_id: AccountId, key_id: KeyId) -> str:
    return shard.account(account_id) if key_id == WHOLE_ACCOUNT else shard.key(key_id)
