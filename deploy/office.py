"""What the commands work with: the services of the portal on an installation's Postgres and Redis."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from core.api_key import Pepper, PepperRing
from core.connections import connect_redis, open_pool
from core.key_directory import KeyDirectory
from core.settings import Secret, SettingsError, load, setting
from deploy.local.state import StateDirectory
from deploy.local.welcome import read_env_file
from portal_api.accounts import Accounts
from portal_api.api_keys import ApiKeys
from portal_api.publication import Publication

__all__ = ["Office", "OfficeSettings", "office_settings", "open_office"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficeSettings:
    database_url: Secret
    redis_url: Secret
    redis_shards: int = setting(16, least=1, most=1024)
    api_key_pepper: Secret


@dataclass(frozen=True, slots=True)
class Office:
    pool: asyncpg.Pool
    redis: Redis
    shard_count: int
    accounts: Accounts
    api_keys: ApiKeys
    publication: Publication


def office_settings(environment: Mapping[str, str], state_directory: Path) -> OfficeSettings:
    """From the environment; what it does not name, from the installation that `poindexter up` keeps on this machine.

    Raises SettingsError.
    """
    known: dict[str, str] = {}
    state = StateDirectory(state_directory)
    if state.demo_environment.exists():
        known = read_env_file(state.demo_environment.read_text())
        known["API_KEY_PEPPER"] = state.pepper()
    return load(OfficeSettings, {**known, **environment})


@contextlib.asynccontextmanager
async def open_office(settings: OfficeSettings) -> AsyncIterator[Office]:
    """Nothing is connected before it is used. Raises SettingsError."""
    peppers = PepperRing(_valid("API_KEY_PEPPER", lambda: Pepper.parse(settings.api_key_pepper.reveal())))
    _valid("DATABASE_URL", lambda: urlsplit(settings.database_url.reveal()))
    redis = _valid("REDIS_URL", lambda: connect_redis(settings.redis_url))
    pool = await open_pool(settings.database_url, most=2, application="poindexter-cli")
    publication = Publication(pool, KeyDirectory(pool, redis, shard_count=settings.redis_shards))
    try:
        yield Office(
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


def _valid(name: str, read: Callable[[], Value]) -> Value:
    try:
        return read()
    except ValueError as error:
        raise SettingsError([f"{name} is not valid: {error}"]) from None
