"""The services of the portal on a real Postgres and Valkey, as `deploy.office` puts them together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.principal import AccountId, KeyId
from core.process.settings import Secret
from core.redis.keys import ShardKeys
from deploy.office import Office, OfficeSettings, open_office

__all__ = ["NOWHERE", "PEPPER", "SHARDS", "account_scope", "front_office", "key_scope"]

PEPPER = "1:" + "5a" * 32
SHARDS = 4
NOWHERE = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def front_office(database_url: str, redis_url: str) -> AsyncIterator[Office]:
    settings = OfficeSettings(
        database_url=Secret(database_url),
        redis_url=Secret(redis_url),
        redis_shards=SHARDS,
        api_key_pepper=Secret(PEPPER),
    )
    async with open_office(settings) as office:
        yield office


async def account_scope(office: Office, account_id: AccountId) -> dict[str, str]:
    """What the gateways know of the account."""
    return await _fields(office, ShardKeys.of(account_id, SHARDS).account(account_id))


async def key_scope(office: Office, account_id: AccountId, key_id: KeyId) -> dict[str, str]:
    return await _fields(office, ShardKeys.of(account_id, SHARDS).key(key_id))


async def _fields(office: Office, name: str) -> dict[str, str]:
    fields: dict[Any, Any] = await office.redis.hgetall(name)
    return {field.decode(): value.decode() for field, value in fields.items()}
