"""The services of the portal on a real Postgres and Valkey, as `deploy.services` puts them together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.principal import AccountId, KeyId
from core.process.settings import Secret
from core.redis.keys import ShardKeys
from deploy.services import Services, ServiceSettings, open_services

__all__ = ["NOWHERE", "PEPPER", "SHARDS", "account_scope", "key_scope", "opened_services"]

PEPPER = "1:" + "5a" * 32
SHARDS = 4
NOWHERE = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def opened_services(database_url: str, redis_url: str) -> AsyncIterator[Services]:
    settings = ServiceSettings(
        database_url=Secret(database_url),
        redis_url=Secret(redis_url),
        redis_shards=SHARDS,
        api_key_pepper=Secret(PEPPER),
    )
    async with open_services(settings) as services:
        yield services


async def account_scope(services: Services, account_id: AccountId) -> dict[str, str]:
    """What the gateways know of the account."""
    return await _fields(services, ShardKeys.of(account_id, SHARDS).account(account_id))


async def key_scope(services: Services, account_id: AccountId, key_id: KeyId) -> dict[str, str]:
    return await _fields(services, ShardKeys.of(account_id, SHARDS).key(key_id))


async def _fields(services: Services, name: str) -> dict[str, str]:
    fields: dict[Any, Any] = await services.redis.hgetall(name)
    return {field.decode(): value.decode() for field, value in fields.items()}
