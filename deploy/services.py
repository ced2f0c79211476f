"""What the commands work with: the services of the portal on an installation's Postgres and Redis."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from core.accounts.api_key import Pepper, PepperRing, pepper_secret
from core.accounts.key_directory import KeyDirectory
from core.postgres.connections import open_pool
from core.postgres.url import postgres_url
from core.process.settings import Secret, SettingsError, load, setting
from core.redis.address import redis_url
from core.redis.connections import connect_redis
from deploy.local.errors import StateError
from deploy.local.state import StateDirectory
from portal_api.accounts import Accounts
from portal_api.api_keys import ApiKeys
from portal_api.publication import Publication

__all__ = ["ServiceSettings", "Services", "open_services", "service_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    database_url: Secret = setting(parse=postgres_url)
    redis_url: Secret = setting(parse=redis_url)
    redis_shards: int = setting(16, minimum=1, maximum=1024)
    api_key_pepper: Secret = setting(parse=pepper_secret)


@dataclass(frozen=True, slots=True)
class Services:
    pool: asyncpg.Pool
    redis: Redis
    shard_count: int
    accounts: Accounts
    api_keys: ApiKeys
    publication: Publication


def service_settings(environment: Mapping[str, str], state_directory: Path) -> ServiceSettings:
    """From the environment; what it does not name, from the installation that `poindexter up` keeps on this machine.

    Raises SettingsError.
    """
    state = StateDirectory(state_directory)
    try:
        if known := state.demo_settings():
            known["API_KEY_PEPPER"] = state.pepper()
    except StateError as error:
        raise SettingsError([str(error)]) from error
    return load(ServiceSettings, {**known, **environment})


@contextlib.asynccontextmanager
async def open_services(settings: ServiceSettings) -> AsyncIterator[Services]:
    """Nothing is connected before it is used."""
    peppers = PepperRing(Pepper.parse(settings.api_key_pepper.reveal()))
    redis = connect_redis(settings.redis_url)
    pool = await open_pool(settings.database_url, max_connections=2, application="poindexter-cli")
    publication = Publication(pool, KeyDirectory(pool, redis, shard_count=settings.redis_shards))
    try:
        yield Services(
            pool,
            redis,
            settings.redis_shards,
            Accounts(pool, publication),
            ApiKeys(pool, publication, peppers),
            publication,
        )
    finally:
        await pool.close()
        await redis.aclose()
