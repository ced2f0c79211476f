"""
From the bearer key to an account and a key. The mapping never changes, so it is cached for long; whether the key may
still be used is not decided here but on every request, by `admission`.

A malformed key is refused without any look-up. An unknown digest is looked for in Redis, then in Postgres, once for all
requests that wait for it, and an unknown key is remembered for a few seconds: a flood of wrong keys costs a hash each.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from core.accounts.api_key import ApiKey, PepperRing, is_well_formed
from core.accounts.key_directory import KeyDirectory
from core.principal import Principal
from core.redis.keys import key_digest
from gateway.errors import InvalidKey
from gateway.records import metrics
from gateway.store.look_ups import LookUps
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError

__all__ = ["Authentication"]

log = logging.getLogger(__name__)

KNOWN_KEYS = 100_000
UNKNOWN_KEYS = 10_000
UNKNOWN_SECONDS = 5.0
SUSPECT_SECONDS = 60.0

Value = TypeVar("Value")

HOW = "Send your API key as `Authorization: Bearer pk_live_…`."


class Authentication:
    def __init__(
        self, peppers: PepperRing, pipeline: RedisPipeline, directory: KeyDirectory, look_ups: LookUps
    ) -> None:
        self._peppers = peppers
        self._pipeline = pipeline
        self._directory = directory
        self._look_ups = look_ups
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._unknown: OrderedDict[bytes, float] = OrderedDict()
        self._suspect_again_at = 0.0

    async def identify(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Raises InvalidKey, or Unavailable when neither Redis nor Postgres can say whose key it is."""
        key = _bearer(headers)
        digest = self._peppers.current.digest(key)
        principal = self._known.get(digest)
        if principal is None:
            return await self._look_up(key, digest)
        self._known.move_to_end(digest)  # The busiest are forgotten last.
        return principal

    async def _look_up(self, key: str, digest: bytes) -> Principal:
        if not is_well_formed(key):
            raise InvalidKey(f"This is not a valid API key: a character is wrong or missing. {HOW}")
        if self._is_unknown(digest):
            raise InvalidKey("This API key is not known.")
        principal = await self._look_ups.ask(digest, lambda: self._find(key))
        if principal is None:
            _remember(self._unknown, digest, asyncio.get_running_loop().time() + UNKNOWN_SECONDS, UNKNOWN_KEYS)
            raise InvalidKey("This API key is not known.")
        _remember(self._known, digest, principal, KNOWN_KEYS)
        return principal

    async def _find(self, key: str) -> Principal | None:
        digests = self._peppers.digests(key)
        for digest in digests:
            try:
                reply = await self._pipeline.command("GET", key_digest(digest))
            except (RedisAway, RedisReplyError):
                break  # Postgres knows as well.
            if isinstance(reply, bytes):
                return Principal.parse(reply)
        principal = await self._directory.find(digests)
        if principal is None:
            await self._suspect_the_pepper(key)
        return principal

    async def _suspect_the_pepper(self, key: str) -> None:
        """With a wrong pepper every key is unknown, and nothing else would say why. Looks once a minute."""
        now = asyncio.get_running_loop().time()
        if now < self._suspect_again_at:
            return
        self._suspect_again_at = now + SUSPECT_SECONDS
        if await self._directory.of_another_pepper(ApiKey(key).display_prefix, self._peppers.ids):
            metrics.KEYS_OF_ANOTHER_PEPPER.inc()
            log.error(
                "a key that seems to be ours is unknown: is API_KEY_PEPPER the one that the keys were made with?",
                extra={"pepper_ids": self._peppers.ids},
            )

    def _is_unknown(self, digest: bytes) -> bool:
        until = self._unknown.get(digest)
        return until is not None and asyncio.get_running_loop().time() < until


def _remember(cache: "OrderedDict[bytes, Value]", digest: bytes, value: Value, maximum: int) -> None:
    cache[digest] = value
    if len(cache) > maximum:
        cache.popitem(last=False)


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    authorization = headers.get(b"authorization")
    if authorization is None:
        key = headers.get(b"x-api-key")
        if key is None:
            raise InvalidKey(f"The request carries no API key. {HOW}")
    else:
        scheme, _, key = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise InvalidKey(f"The Authorization header is not a bearer token. {HOW}")
    return key.strip().decode("latin-1")
