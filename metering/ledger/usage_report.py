"""What an account used, from the aggregates: a question about a year costs a few hundred rows."""

from dataclasses import dataclass
from datetime import date

import asyncpg

from core.principal import AccountId

__all__ = ["UsageLine", "UsageReport"]

LINES = """
    SELECT {label} AS label, sum(requests)::bigint AS requests, sum(estimated_requests)::bigint AS estimated_requests,
           sum(input_tokens)::bigint AS input_tokens, sum(cache_read_tokens)::bigint AS cache_read_tokens,
           sum(cache_write_5m_tokens + cache_write_1h_tokens)::bigint AS cache_write_tokens,
           sum(output_tokens)::bigint AS output_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens,
           sum(cost_nano_usd)::bigint AS cost, sum(charged_nano_usd)::bigint AS charged,
           sum(waived_nano_usd)::bigint AS waived
    FROM usage_daily WHERE account_id = $1 AND day BETWEEN $2 AND $3
    GROUP BY {label} HAVING sum(requests) > 0 ORDER BY {label}
"""
BY_DAY, BY_MODEL, BY_KEY = (LINES.format(label=label) for label in ("day", "model", "key_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """`label` is the day, the model or the key id; money in nano-dollars."""

    label: str
    requests: int
    estimated_requests: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int
    charged: int
    waived: int


class UsageReport:
    """`since` and `until` are days, both included. Days and models without usage have no line."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def by_day(self, account_id: AccountId, since: date, until: date) -> list[UsageLine]:
        return await self._lines(BY_DAY, account_id, since, until)

    async def by_model(self, account_id: AccountId, since: date, until: date) -> list[UsageLine]:
        return await self._lines(BY_MODEL, account_id, since, until)

    async def by_key(self, account_id: AccountId, since: date, until: date) -> list[UsageLine]:
        return await self._lines(BY_KEY, account_id, since, until)

    async def _lines(self, query: str, account_id: AccountId, since: date, until: date) -> list[UsageLine]:
        rows = await self._pool.fetch(query, account_id, since, until)
        return [UsageLine(**{**row, "label": str(row["label"])}) for row in rows]
