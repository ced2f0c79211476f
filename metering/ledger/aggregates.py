"""
The sums of the ledger: their columns, and how a statement adds to `usage_daily` and `usage_periods`.

`usage_periods` also holds what parked entries have charged. Caps see the sum of both, and a version that grows with
every change orders what is written to Redis.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg

from core.principal import AccountId, KeyId
from core.usage.usage_event import Outcome

__all__ = [
    "COUNTS",
    "MEASURES",
    "SUMMED",
    "WHOLE_ACCOUNT",
    "PeriodTotal",
    "add_to_aggregates",
    "move_parked",
    "totals_of",
]

WHOLE_ACCOUNT = KeyId(0)
"""The key id under which `usage_periods` holds the sum of an account."""

MEASURES = (
    "requests",
    "estimated_requests",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "owed_nano_usd",
    "charged_nano_usd",
    "waived_nano_usd",
)
SUMMED = MEASURES[2:]
COUNTS = f"""
    count(*) FILTER (WHERE outcome <> '{Outcome.RELEASED}') AS requests,
    count(*) FILTER (WHERE estimated <> '') AS estimated_requests
"""
"""What was released is an event, so that it can replace an estimate, but no request that anybody made use of."""

TOTALS = """
    SELECT period, account_id, key_id, charged_nano_usd + parked_nano_usd, version
    FROM usage_periods JOIN unnest($1::bigint[], $2::bigint[], $3::date[]) AS place (account_id, key_id, period)
        USING (account_id, key_id, period)
"""


@dataclass(frozen=True, slots=True)
class PeriodTotal:
    """What the ledger holds for an account (`key_id` 0) or a key in a billing period."""

    period: date
    account_id: AccountId
    key_id: KeyId
    charged: int
    """Nano-dollars, those of parked entries included."""
    version: int
    """Grows with every change, so it orders the totals that are written to Redis."""


def _sums(names: Sequence[str], sign: str = "") -> str:
    return ", ".join(f"{sign}sum({name})::bigint AS {name}" for name in names)


def _added(table: str, names: Sequence[str] = MEASURES) -> str:
    return ", ".join(f"{name} = {table}.{name} + EXCLUDED.{name}" for name in names)


# The ORDER BY clauses keep two consumers from waiting for each other's rows: everybody locks in the same order.
def add_to_aggregates(events: str, sign: str = "") -> str:
    """Two more parts of a WITH statement, which add the rows of the part `events`; `sign` "-" takes them out."""
    return f"""
    added AS (
        SELECT period, day, account_id, key_id, model,
               count(*) AS events, {COUNTS}, {_sums(SUMMED)}
        FROM {events} GROUP BY period, day, account_id, key_id, model
    ), daily AS (
        INSERT INTO usage_daily AS daily (account_id, day, key_id, model, {", ".join(MEASURES)})
        SELECT account_id, day, key_id, model, {_sums(MEASURES, sign)} FROM added
        GROUP BY account_id, day, key_id, model ORDER BY account_id, day, key_id, model
        ON CONFLICT (account_id, day, key_id, model) DO UPDATE SET {_added("daily")}
    ), periods AS (
        INSERT INTO usage_periods AS periods (account_id, period, key_id, version, {", ".join(MEASURES)})
        SELECT account_id, period, coalesce(key_id, {WHOLE_ACCOUNT}), sum(events), {_sums(MEASURES, sign)} FROM added
        GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period)) ORDER BY 1, 2, 3
        ON CONFLICT (account_id, period, key_id) DO UPDATE SET {_added("periods", ("version", *MEASURES))}
    )"""  # noqa: S608  # Made of constants.


def move_parked(letters: str, sign: str = "") -> str:
    """One more part of a WITH statement, which adds what the dead letters of the part `letters` have charged to what
    is parked; `sign` "-" takes it out."""
    return f"""
    parked AS (
        INSERT INTO usage_periods AS periods (
            account_id, period, key_id, parked_nano_usd, version, {", ".join(MEASURES)}
        )
        SELECT account_id, period, coalesce(key_id, {WHOLE_ACCOUNT}), {sign}sum(charged_nano_usd), count(*),
               {", ".join("0" for _ in MEASURES)}
        FROM {letters} WHERE account_id IS NOT NULL
        GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period)) ORDER BY 1, 2, 3
        ON CONFLICT (account_id, period, key_id) DO UPDATE SET {_added("periods", ("parked_nano_usd", "version"))}
    )"""  # noqa: S608  # Made of constants.


async def totals_of(
    connection: asyncpg.pool.PoolConnectionProxy, places: Iterable[tuple[AccountId, KeyId, date]]
) -> list[PeriodTotal]:
    """Of these keys in these periods, and of their accounts."""
    asked = {place for account, key, period in places for place in ((account, key, period), (account, 0, period))}
    if not asked:
        return []
    columns = [list(column) for column in zip(*asked, strict=True)]
    return [PeriodTotal(*row) for row in await connection.fetch(TOTALS, *columns)]
