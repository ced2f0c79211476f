"""
The admin port, for operators and their machines only: `/healthz` (the process), `/readyz` (what it depends on, and
whether it is draining), `/metrics`. All workers of a machine listen on one admin port; each answers for all in
`/metrics` and for itself in the others.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.endpoints.router import Front
from gateway.inbound.connections import Connections
from gateway.spool.spool import Spool
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError

__all__ = ["operations"]

CHECK_SECONDS = 2.0


def operations(
    front: Front,
    connections: Connections,
    pipeline: RedisPipeline,
    pool: asyncpg.Pool,
    spool: Spool,
    *,
    multiprocess: bool,
) -> Starlette:
    """`multiprocess`: PROMETHEUS_MULTIPROC_DIR is set, and `/metrics` adds up all workers."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        redis, postgres = await asyncio.gather(_check(lambda: _redis(pipeline)), _check(lambda: _postgres(pool)))
        checks = {
            "redis": redis,
            "postgres": postgres,
            "spool": "ok" if spool.healthy else "failing",
            "connections": "full" if connections.full else "ok",
            "draining": front.draining,
        }
        # Known keys are served while Postgres is away, and nothing goes to the spool while Redis is there: both are
        # reported and do not turn readiness red.
        ready = redis == "ok" and not connections.full and not front.draining
        counts = {"open_requests": front.open_requests, "connections": len(connections.connections)}
        return JSONResponse({"ready": ready, "checks": checks, **counts}, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        registry = REGISTRY
        if multiprocess:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(await asyncio.to_thread(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/livez", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


async def _check(probe: Callable[[], Awaitable[object]]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await probe()
    except (OSError, TimeoutError, RedisAway, RedisReplyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return type(error).__name__
    return "ok"


async def _redis(pipeline: RedisPipeline) -> None:
    await pipeline.command("PING")


async def _postgres(pool: asyncpg.Pool) -> None:
    await pool.fetchval("SELECT 1")
