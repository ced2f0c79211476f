"""
May this key be used at all, and for which models? One cheap question to Redis. It is asked before a large body is read,
because what it costs to take in 33 MB must not be free for a key that was revoked, and by the list of models.
`admission` decides all the same, and decides alone about limits.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from core.principal import Principal
from core.redis.keys import ShardKeys
from gateway.admission.refusals import refusal
from gateway.errors import Unavailable
from gateway.store.cold_scopes import ColdScopes
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError

__all__ = ["Standing"]

ACTIVE = b"active"


class Standing:
    def __init__(self, pipeline: RedisPipeline, cold_scopes: ColdScopes, *, shard_count: int) -> None:
        self._pipeline = pipeline
        self._cold_scopes = cold_scopes
        self._shard_count = shard_count

    async def require(self, principal: Principal) -> None:
        """Raises InvalidKey or AccountSuspended; not while Redis is away, or has not heard of the account yet."""
        try:
            found = await self._read(principal)
        except (RedisAway, RedisReplyError):
            return
        if found is not None:
            found.require()

    async def models(self, principal: Principal) -> list[str] | None:
        """The names that the key may ask for, None for all. Raises InvalidKey, AccountSuspended, or Unavailable when
        neither Redis nor Postgres can say."""
        try:
            found = await self._read(principal)
            if found is None:
                await self._cold_scopes.publish(principal)
                found = await self._read(principal)
        except (RedisAway, RedisReplyError) as error:
            raise Unavailable("Keys can't be checked right now.", retry_after=2.0) from error
        if found is None:
            raise Unavailable("The account can't be looked up.", retry_after=1.0)
        found.require()
        return found.models

    async def _read(self, principal: Principal) -> "_Found | None":
        """None when Redis does not know the account or the key, in this life of the server."""
        keys = ShardKeys.of(principal.account_id, self._shard_count)
        ask = self._pipeline.command
        replies: Any = await asyncio.gather(
            ask("HMGET", keys.account(principal.account_id), "epoch", "status"),
            ask("HMGET", keys.key(principal.key_id), "epoch", "status", "expires_at", "models"),
            ask("TIME"),  # Redis' clock decides, as at the admission.
        )
        (account_epoch, account_status), (key_epoch, key_status, expires_at, models), clock = replies
        if not account_status or not key_status or {account_epoch, key_epoch} != {self._pipeline.epoch.encode()}:
            return None
        now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
        expired = bool(expires_at) and int(expires_at) <= now_ms
        names = models.decode().strip(",").split(",") if models else None
        return _Found((account_status, key_status), expired, names)


@dataclass(slots=True)
class _Found:
    statuses: tuple[bytes, bytes]
    """Of the account and of the key."""
    expired: bool
    models: list[str] | None

    def require(self) -> None:
        reason = next((status for status in self.statuses if status != ACTIVE), b"expired" if self.expired else None)
        if reason is not None:
            raise refusal((reason, b"key", 0, 0), "")
