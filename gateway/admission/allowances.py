"""
What an account and a key have used and may still use, as Redis has it at this moment. `admission` decides by the same
fields; nothing is taken here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from core.principal import Principal
from core.redis.keys import ShardKeys
from gateway.errors import Unavailable
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError

__all__ = ["Allowance", "Allowances", "Snapshot"]

PERIODS = ("period", "period_ends", "next_period", "next_period_ends")
FIELDS = ("rpm", "tpm", "concurrency", "cap", "in_flight", "reserved", "minute", "minute_requests", "minute_tokens")
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of one scope. A limit of None is none; money in nano-dollars, of the period that pays now."""

    requests_per_minute: int | None
    requests_used: int
    tokens_per_minute: int | None
    tokens_used: int
    concurrency: int | None
    in_flight: int
    cap: int | None
    spent: int
    reserved: int

    @classmethod
    def of(cls, fields: Sequence[bytes | None], *, minute: int) -> "Allowance":
        """`fields` are FIELDS, then the ledger and what is pending; `minute` is the server's, since 1970."""
        rpm, tpm, concurrency, cap, *counts = [int(value) if value else None for value in fields]
        in_flight, reserved, counted_minute, requests, tokens, ledger, pending = (count or 0 for count in counts)
        running = counted_minute == minute
        return cls(
            requests_per_minute=rpm,
            requests_used=requests if running else 0,
            tokens_per_minute=tpm,
            tokens_used=tokens if running else 0,
            concurrency=concurrency,
            in_flight=in_flight,
            cap=cap,
            spent=ledger + pending,
            reserved=reserved,
        )

    @property
    def left(self) -> int | None:
        """Nano-dollars that may still be reserved; None without a cap."""
        return None if self.cap is None else max(0, self.cap - self.spent - self.reserved)


@dataclass(frozen=True, slots=True)
class Snapshot:
    account: Allowance
    key: Allowance
    minute_ends: datetime
    period: date
    period_ends: datetime


class Allowances:
    def __init__(self, pipeline: RedisPipeline, *, shard_count: int) -> None:
        self._pipeline = pipeline
        self._shard_count = shard_count

    async def read(self, principal: Principal) -> Snapshot:
        """Of scopes that are published (`Standing` sees to it). Raises Unavailable."""
        keys = ShardKeys.of(principal.account_id, self._shard_count)
        account, key = keys.account(principal.account_id), keys.key(principal.key_id)
        try:
            periods, clock = await asyncio.gather(self._ask("HMGET", account, *PERIODS), self._ask("TIME"))
            now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
            period, ends_ms = _paying(periods, now_ms)
            names = (*FIELDS, f"ledger:{period}", f"pending:{period}")
            scopes = await asyncio.gather(self._ask("HMGET", account, *names), self._ask("HMGET", key, *names))
        except (RedisAway, RedisReplyError) as error:
            raise Unavailable("Limits can't be read right now. Please try again.", retry_after=2.0) from error
        minute = now_ms // MINUTE_MS
        of_account, of_key = (Allowance.of(fields, minute=minute) for fields in scopes)
        return Snapshot(
            of_account,
            of_key,
            minute_ends=_instant((minute + 1) * MINUTE_MS),
            period=date.fromisoformat(period),
            period_ends=_instant(ends_ms),
        )

    async def _ask(self, *command: str) -> Any:
        return await self._pipeline.command(*command)


def _paying(periods: Sequence[bytes | None], now_ms: int) -> tuple[str, int]:
    """The period that pays now and its end, ms since 1970. Raises Unavailable when both are over."""
    for name, ends in (periods[:2], periods[2:]):
        if name and ends and now_ms < int(ends):
            return name.decode(), int(ends)
    raise Unavailable("The account can't be looked up.", retry_after=1.0)


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
