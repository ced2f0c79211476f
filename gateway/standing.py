"""
May this key be used at all? One cheap question to Redis, asked before a large body is read: what it costs to take in
33 MB must not be free for a key that was revoked. `admission` decides all the same, and decides alone about limits.
"""

import asyncio

from core.principal import Principal
from core.redis_keys import ShardKeys
from gateway.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError
from gateway.refusal import refusal

__all__ = ["Standing"]

ACTIVE = b"active"


class Standing:
    def __init__(self, pipeline: RedisPipeline, *, shard_count: int) -> None:
        self._pipeline = pipeline
        self._shard_count = shard_count

    async def require(self, principal: Principal) -> None:
        """Raises InvalidKey or AccountSuspended; not while Redis is away, or has not heard of the account yet."""
        keys = ShardKeys.of(principal.account_id, self._shard_count)
        ask = self._pipeline.command
        try:
            replies = await asyncio.gather(
                ask("HGET", keys.account(principal.account_id), "status"),
                ask("HMGET", keys.key(principal.key_id), "status", "expires_at"),
                ask("TIME"),  # Redis' clock decides, as at the admission.
            )
        except (RedisAway, RedisReplyError):
            return
        reason = _reason(*replies)
        if reason is not None:
            raise refusal((reason, b"key", 0, 0), "")


def _reason(account: object, key: object, clock: object) -> bytes | None:
    """Why not; None if nothing is known against it."""
    status, expires_at = key if isinstance(key, list) else (None, None)
    for known in (account, status):
        if isinstance(known, bytes) and known != ACTIVE:
            return known
    if isinstance(expires_at, bytes) and expires_at and isinstance(clock, list):
        seconds, microseconds = (int(part) for part in clock)  # TIME: two numbers.
        if int(expires_at) <= seconds * 1000 + microseconds // 1000:
            return b"expired"
    return None
