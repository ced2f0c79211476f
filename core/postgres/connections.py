"""
Connections to Postgres with time-outs that fit a service: nothing waits for ever.
"""

import asyncpg

from core.process.settings import Secret

__all__ = ["connect_postgres", "open_pool"]

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0


async def open_pool(url: Secret, *, max_connections: int, application: str) -> asyncpg.Pool:
    """A pool that opens no connection yet: a process starts while Postgres is still away."""
    return await asyncpg.create_pool(
        url.reveal(),
        min_size=0,
        max_size=max_connections,
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
