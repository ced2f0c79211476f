import asyncio
import socket

import pytest
import redis.exceptions

from core.process.settings import Secret
from core.redis.connections import connect_redis


async def test_redis_that_does_not_answer_is_given_up_without_a_retry() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # Accepts connections and never says anything.
        client = connect_redis(Secret(f"redis://127.0.0.1:{server.getsockname()[1]}/0"), reply_seconds=0.2)

        started = asyncio.get_running_loop().time()
        with pytest.raises(redis.exceptions.RedisError):
            await client.ping()

        assert asyncio.get_running_loop().time() - started < 1.5
        await client.aclose()


async def test_redis_that_is_not_there_is_an_error_at_once() -> None:
    client = connect_redis(Secret("redis://127.0.0.1:1/0"))

    with pytest.raises(redis.exceptions.ConnectionError):
        await client.ping()

    await client.aclose()
