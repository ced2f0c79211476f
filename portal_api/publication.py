"""
Tell the gateways about a change, before the change is reported as done.

A change is first committed in Postgres, then written to Redis, where the next request sees it. When Redis can't be
reached the change stays committed and marked as unpublished, `NotPublished` says so, and `publish_missing` makes up for
it (`poindexter keys publish`). Nothing depends on a cache being deleted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import redis.exceptions

from core.accounts.key_directory import KeyDirectory
from core.principal import AccountId, KeyId
from portal_api.errors import PortalError

__all__ = ["NotPublished", "Publication"]

TRIES = 5
PAUSE_SECONDS = 0.2

UNPUBLISHED_ACCOUNTS = (
    "SELECT account_id FROM accounts WHERE published_revision < revision ORDER BY account_id LIMIT 1000"
)
UNPUBLISHED_KEYS = "SELECT key_id FROM api_keys WHERE published_revision < revision ORDER BY key_id LIMIT 1000"
ACCOUNT_PUBLISHED = "UPDATE accounts SET published_revision = $2 WHERE account_id = $1 AND published_revision < $2"
KEY_PUBLISHED = "UPDATE api_keys SET published_revision = $2 WHERE key_id = $1 AND published_revision < $2"
OVERTAKE_ACCOUNT = "UPDATE accounts SET revision = $2 + 1 WHERE account_id = $1 AND revision < $2 RETURNING revision"
OVERTAKE_KEY = "UPDATE api_keys SET revision = $2 + 1 WHERE key_id = $1 AND revision < $2 RETURNING revision"
"""A change is committed before it is published, so Redis is ahead of Postgres only after a restored backup."""


class NotPublished(PortalError):
    """The change is committed, but the gateways don't know it yet: Redis can't be reached.

    `saved` is what the call would have returned: a new key, for example, is seen at no other moment."""

    def __init__(self, message: str, saved: Any) -> None:
        super().__init__(message)
        self.saved = saved


class Publication:
    def __init__(self, pool: asyncpg.Pool, directory: KeyDirectory) -> None:
        self._pool = pool
        self._directory = directory

    async def account(self, account_id: AccountId, *, saved: Any = None) -> None:
        """Returns when the gateways' next request sees the account as it is now. Raises NotPublished, with `saved`."""
        await self._retry(lambda: self._account(account_id), saved)

    async def key(self, key_id: KeyId, *, saved: Any = None) -> None:
        """Returns when the gateways' next request sees the key as it is now. Raises NotPublished, with `saved`."""
        await self._retry(lambda: self._key(key_id), saved)

    async def publish_missing(self) -> int:
        """Publish every committed change that Redis has not seen; returns how many. Raises NotPublished."""
        count = 0
        while accounts := await self._pool.fetch(UNPUBLISHED_ACCOUNTS):
            for row in accounts:
                await self.account(row["account_id"])
            count += len(accounts)
        while keys := await self._pool.fetch(UNPUBLISHED_KEYS):
            for row in keys:
                await self.key(row["key_id"])
            count += len(keys)
        return count

    async def _account(self, account_id: AccountId) -> None:
        revision = await self._directory.publish_account(account_id)
        if await self._pool.fetchval(OVERTAKE_ACCOUNT, account_id, revision):
            revision = await self._directory.publish_account(account_id)
        await self._pool.execute(ACCOUNT_PUBLISHED, account_id, revision)

    async def _key(self, key_id: KeyId) -> None:
        revision = await self._directory.publish_key(key_id)
        if await self._pool.fetchval(OVERTAKE_KEY, key_id, revision):
            revision = await self._directory.publish_key(key_id)
        await self._pool.execute(KEY_PUBLISHED, key_id, revision)

    async def _retry(self, publish: Callable[[], Awaitable[None]], saved: Any) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                await publish()
                return
            except redis.exceptions.RedisError as error:
                if attempt == TRIES:
                    raise NotPublished(
                        "The change is saved, but the gateways can't be told: Redis does not answer. "
                        "It takes effect after `poindexter keys publish`.",
                        saved,
                    ) from error
                await asyncio.sleep(PAUSE_SECONDS * attempt)
