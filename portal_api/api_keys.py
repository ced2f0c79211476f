"""API keys: create (the one moment a key is seen), list, revoke. A revocation holds on the next request."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from core.accounts.api_key import ApiKey, PepperRing
from core.principal import AccountId, KeyId
from portal_api.errors import UnknownAccount, UnknownKey
from portal_api.names import checked_name
from portal_api.publication import Publication

__all__ = ["ApiKeys", "CreatedKey", "KeyLimits", "KeySummary"]

SUMMARY = "key_id, account_id, name, display_prefix, status, models, cap_nano_usd, expires_at, created_at, revoked_at"

CREATE = f"""
    INSERT INTO api_keys (account_id, name, digest, pepper_id, display_prefix, models, requests_per_minute,
                          tokens_per_minute, concurrent_requests, cap_nano_usd, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    RETURNING {SUMMARY}
"""  # noqa: S608  # The columns are a constant.

REVOKE = f"""
    UPDATE api_keys SET status = 'revoked', revoked_at = coalesce(revoked_at, now()), revision = revision + 1
    WHERE key_id = $1
    RETURNING {SUMMARY}
"""  # noqa: S608

LIST = f"SELECT {SUMMARY} FROM api_keys WHERE $1::bigint IS NULL OR account_id = $1 ORDER BY key_id"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key may do; None = no limit beyond the account's."""

    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    cap_nano_usd: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeySummary:
    """What may be shown of a key."""

    key_id: KeyId
    account_id: AccountId
    name: str
    display_prefix: str
    status: str
    models: list[str] | None
    cap_nano_usd: int | None
    expires_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    summary: KeySummary
    key: ApiKey
    """In clear, once: it is stored nowhere."""


class ApiKeys:
    def __init__(self, pool: asyncpg.Pool, publication: Publication, peppers: PepperRing) -> None:
        self._pool = pool
        self._publication = publication
        self._peppers = peppers

    async def create(self, account_id: AccountId, name: str, limits: KeyLimits | None = None) -> CreatedKey:
        """Raises UnknownAccount, InvalidName, NotPublished."""
        limits = limits or KeyLimits()
        key = ApiKey.generate()
        pepper = self._peppers.current
        try:
            [row] = await self._pool.fetch(
                CREATE,
                account_id,
                checked_name(name),
                pepper.digest(key.text),
                pepper.id,
                key.display_prefix,
                limits.models,
                limits.requests_per_minute,
                limits.tokens_per_minute,
                limits.concurrent_requests,
                limits.cap_nano_usd,
                limits.expires_at,
            )
        except asyncpg.ForeignKeyViolationError:
            raise UnknownAccount(f"There is no account {account_id}.") from None
        created = CreatedKey(KeySummary(**row), key)
        await self._publication.key(created.summary.key_id, saved=created)
        return created

    async def list(self, account_id: AccountId | None = None) -> list[KeySummary]:
        """The keys of an account, or of all, oldest first; revoked ones included."""
        return [KeySummary(**row) for row in await self._pool.fetch(LIST, account_id)]

    async def revoke(self, key_id: KeyId) -> KeySummary:
        """When this returns, no gateway admits a request of the key any more. Raises UnknownKey, NotPublished."""
        row = await self._pool.fetchrow(REVOKE, key_id)
        if row is None:
            raise UnknownKey(f"There is no key {key_id}.")
        summary = KeySummary(**row)
        await self._publication.key(key_id, saved=summary)
        return summary
