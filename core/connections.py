"""
Connections to Postgres and Redis with time-outs that fit a service: nothing waits for ever, nothing retries behind
our back.
"""

import asyncpg
import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.redis_address import RedisAddress
from core.settings import Secret

__all__ = ["connect_postgres", "connect_redis", "open_pool"]

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0


async def open_pool(url: Secret, *, most: int, application: str) -> asyncpg.Pool:
    """A pool that opens no connection yet: a process starts while Postgres is still away."""
    return await asyncpg.create_pool(
        url.reveal(),
        min_size=0,
        max_size=most,
        timeout=CONNECT_SECONDS,
        command_timeout=STATEMENT_SECONDS,
        max_inactive_connection_lifetime=60.0,
        server_settings={"application_name": application, "timezone": "UTC"},
    )


async def connect_postgres(url: Secret, *, application: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        url.reveal(),
        timeout=CONNECT_SECONDS,
        server_settings={"application_name": application, "timezone": "UTC"},
    )


def connect_redis(url: Secret, *, reply_seconds: float = 5.0) -> Redis:
    """A client whose waits are bounded. `reply_seconds` must exceed the BLOCK time of a blocking read.

    A broken connection is tried once more, at once: after a restart of Redis every pooled one is stale. All of our
    commands may be executed twice (the scripts say why). Time-outs are never tried again. Raises ValueError as
    RedisAddress.parse does.
    """
    address = RedisAddress.parse(url.reveal())
    return Redis(
        host=address.host,
        port=address.port,
        db=address.database,
        username=address.username or None,
        password=address.password or None,
        ssl=address.tls,
        socket_timeout=reply_seconds,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
        health_check_interval=0,
    )
