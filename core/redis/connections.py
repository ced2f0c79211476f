"""Connections to Redis with time-outs that fit a service: nothing waits for ever, nothing retries behind our back."""

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.process.settings import Secret
from core.redis.address import RedisAddress

__all__ = ["connect_redis"]

CONNECT_SECONDS = 5.0


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
