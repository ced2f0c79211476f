"""Accounts: create, list, change. Every change reaches the gateways before it is reported as done."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from core.accounts.plans import PLANS
from core.principal import AccountId
from portal_api.errors import UnknownAccount, UnknownPlan
from portal_api.names import checked_name
from portal_api.publication import Publication

__all__ = ["Account", "Accounts"]

COLUMNS = "account_id, name, plan, status, cap_nano_usd, created_at"

CREATE = f"""
    INSERT INTO accounts (name, plan, requests_per_minute, tokens_per_minute, concurrent_requests, cap_nano_usd)
    VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING {COLUMNS}
"""  # noqa: S608  # The columns are a constant.

CHANGE = f"""
    UPDATE accounts SET
        status = coalesce($2, status), cap_nano_usd = coalesce($3, cap_nano_usd), revision = revision + 1
    WHERE account_id = $1
    RETURNING {COLUMNS}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Account:
    account_id: AccountId
    name: str
    plan: str
    status: str
    cap_nano_usd: int | None
    created_at: datetime


class Accounts:
    def __init__(self, pool: asyncpg.Pool, publication: Publication) -> None:
        self._pool = pool
        self._publication = publication

    async def create(self, name: str, plan: str, *, cap_nano_usd: int | None = None) -> Account:
        """An account with the plan's limits; its cap is the plan's price unless another is given.

        Raises UnknownPlan, InvalidName, NotPublished.
        """
        terms = PLANS.get(plan)
        if terms is None:
            raise UnknownPlan(f"There is no plan {plan!r}; choose one of {', '.join(PLANS)}.")
        [row] = await self._pool.fetch(
            CREATE,
            checked_name(name),
            plan,
            terms.requests_per_minute,
            terms.tokens_per_minute,
            terms.concurrent_requests,
            terms.price if cap_nano_usd is None else cap_nano_usd,
        )
        account = Account(**row)
        await self._publication.account(account.account_id, saved=account)
        return account

    async def list(self) -> list[Account]:
        """Every account, oldest first."""
        rows = await self._pool.fetch(f"SELECT {COLUMNS} FROM accounts ORDER BY account_id")  # noqa: S608
        return [Account(**row) for row in rows]

    async def require(self, account_id: AccountId) -> None:
        """Raises UnknownAccount."""
        if not await self._pool.fetchval("SELECT EXISTS (SELECT FROM accounts WHERE account_id = $1)", account_id):
            raise UnknownAccount(f"There is no account {account_id}.")

    async def change(
        self, account_id: AccountId, *, status: str | None = None, cap_nano_usd: int | None = None
    ) -> Account:
        """Suspend, resume (`status`), or set the cap; None leaves a thing as it is. Holds on the next request.

        Raises UnknownAccount, NotPublished.
        """
        row = await self._pool.fetchrow(CHANGE, account_id, status, cap_nano_usd)
        if row is None:
            raise UnknownAccount(f"There is no account {account_id}.")
        account = Account(**row)
        await self._publication.account(account_id, saved=account)
        return account
