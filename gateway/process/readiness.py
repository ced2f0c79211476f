"""Whether this worker can do its work, for the admin port, and the registry of metrics that it shows there."""

import asyncio

import asyncpg
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from core.process.admin_port import OK, Readiness, check
from gateway.endpoints.router import Router
from gateway.inbound.connections import Connections
from gateway.spool.spool import Spool
from gateway.store.redis_pipeline import RedisPipeline

__all__ = ["GatewayReadiness", "all_workers", "this_process"]


class GatewayReadiness:
    """
    Red when Redis does not answer, when every connection is taken, and while draining.

    Known keys are served while Postgres is away, and nothing goes to the spool while Redis is there: both are reported
    and do not turn it red.
    """

    def __init__(
        self, router: Router, connections: Connections, pipeline: RedisPipeline, pool: asyncpg.Pool, spool: Spool
    ) -> None:
        self._router = router
        self._connections = connections
        self._pipeline = pipeline
        self._pool = pool
        self._spool = spool

    async def __call__(self) -> Readiness:
        router, connections = self._router, self._connections
        redis, postgres = await asyncio.gather(
            check(lambda: self._pipeline.command("PING")), check(lambda: self._pool.fetchval("SELECT 1"))
        )
        checks = {
            "redis": redis,
            "postgres": postgres,
            "spool": OK if self._spool.healthy else "failing",
            "connections": "full" if connections.full else OK,
            "draining": router.draining,
        }
        counts = {"open_requests": router.open_requests, "connections": len(connections.connections)}
        return Readiness(redis == OK and not connections.full and not router.draining, checks, counts)


def this_process() -> CollectorRegistry:
    return REGISTRY


def all_workers() -> CollectorRegistry:
    """PROMETHEUS_MULTIPROC_DIR is set: every worker's files are added up."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
