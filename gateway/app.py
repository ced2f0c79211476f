"""The composition root: every long-lived object of a gateway process is made here and handed to those who need it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

import asyncpg

from core.accounts.key_directory import KeyDirectory
from core.postgres.connections import open_pool
from core.postgres.installation import agree_on_shards, agree_when_reachable
from core.process.failpoints import Failpoints
from core.process.line_output import standard_output
from core.redis.connections import connect_redis
from core.redis.lua_scripts import load_script
from gateway.accounting.leases import Leases
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.accounting.rate_limit_headers import anthropic_limit_lines, limit_lines
from gateway.accounting.settlement import Settlement
from gateway.admission.admission import Admission
from gateway.admission.allowances import Allowances
from gateway.admission.authentication import Authentication
from gateway.admission.standing import Standing
from gateway.answering.client_disconnects import ClientDisconnects
from gateway.answering.failover import Failover
from gateway.answering.keep_alive import KeepAlives
from gateway.answering.relay import Relay
from gateway.dialects.messages.messages_api import MessagesApi
from gateway.dialects.openai.chat_api import ChatApi
from gateway.endpoints.bodies import Bodies
from gateway.endpoints.generation import Generation
from gateway.endpoints.key import Key
from gateway.endpoints.models import PREFIX, Models
from gateway.endpoints.router import Router
from gateway.inbound.cors import Cors
from gateway.outbound.client import Transport
from gateway.outbound.tls import verified_context
from gateway.records import metrics
from gateway.records.request_log import RequestLog
from gateway.records.request_metrics import count_request
from gateway.settings import GatewaySettings
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.spool import Spool
from gateway.store.cold_scopes import ColdScopes
from gateway.store.look_ups import LookUps
from gateway.store.redis_pipeline import RedisPipeline
from gateway.upstreams.catalog import Catalog
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.retry_policy import RetryPolicy

__all__ = ["Gateway", "open_gateway"]

SCRIPTS = ("admit", "renew", "settle", "release")
POSTGRES_CONNECTIONS = 4
"""Postgres is asked for unknown keys and cold accounts only."""
START_CHECK_SECONDS = 2.0
FINISH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the process's `__main__` needs of it."""

    router: Router
    pipeline: RedisPipeline
    pool: asyncpg.Pool
    catalog: Catalog
    spool: Spool


@contextlib.asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, environment: Mapping[str, str], failpoints: Failpoints
) -> AsyncIterator[Gateway]:
    """Everything running; on leaving, what is still unwritten goes to Redis or to the spool.

    Raises ModelsFileError or OSError when the models file can't be used, SpoolUnusable, and WrongInstallation. Redis
    and Postgres may be away.
    """
    lease_ms = round(settings.gateway_lease_seconds * 1000)
    shard_count = settings.redis_shards
    breaker = CircuitBreaker()
    catalog = Catalog(
        settings.gateway_models_file, environment, connect_seconds=settings.gateway_connect_seconds, breaker=breaker
    )
    allowance = OfflineAllowance(
        limit=settings.gateway_offline_exposure_usd, memory=settings.gateway_offline_memory_seconds
    )
    leases = Leases(lease_seconds=settings.gateway_lease_seconds)
    keep_alives = KeepAlives(seconds=settings.gateway_keepalive_seconds)
    pipeline = RedisPipeline(
        settings.redis_url,
        [load_script(name) for name in SCRIPTS],
        reply_seconds=settings.gateway_redis_seconds,
        on_change=lambda connected: _redis_changed(connected, leases, settlement),
    )
    pool = await open_pool(
        settings.database_url, max_connections=POSTGRES_CONNECTIONS, application="poindexter-gateway"
    )
    redis = connect_redis(settings.redis_url)
    look_up_seconds = settings.gateway_lookup_seconds
    directory = KeyDirectory(pool, redis, shard_count=shard_count, wait_seconds=look_up_seconds)
    look_ups = LookUps(seconds=look_up_seconds)
    cold_scopes = ColdScopes(pipeline, directory, look_ups)
    recent = RecentSettlements(pipeline)
    spool = Spool(settings.gateway_spool_directory, pipeline, recent, cold_scopes, shard_count=shard_count)
    await spool.open()
    with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        async with asyncio.timeout(START_CHECK_SECONDS):
            await agree_on_shards(pool, shard_count)
    settlement = Settlement(pipeline, spool, recent, cold_scopes, allowance, lease_ms=lease_ms)
    standing = Standing(pipeline, cold_scopes, shard_count=shard_count)
    authentication = Authentication(settings.peppers, pipeline, directory, look_ups)
    transport = Transport(
        ssl_context=verified_context(),  # Takes 40 ms: now, not during the first request.
        max_connections_per_origin=settings.gateway_upstream_connections,
        max_idle_per_origin=settings.gateway_upstream_connections,
    )
    drains = settings.gateway_max_drains if settings.gateway_on_disconnect == "drain" else 0
    chat_api = ChatApi()
    chat = Generation(
        api=chat_api,
        limit_lines=limit_lines,
        authentication=authentication,
        bodies=Bodies(
            standing,
            max_bytes=settings.gateway_max_body_bytes,
            max_seconds=settings.gateway_body_seconds,
            max_bytes_together=settings.gateway_max_bodies_bytes,
        ),
        admission=Admission(
            pipeline, cold_scopes, allowance, settlement, spool, shard_count=shard_count, lease_ms=lease_ms
        ),
        catalog=catalog,
        failover=Failover(
            transport,
            RetryPolicy(max_attempts=settings.gateway_max_attempts, max_seconds=settings.gateway_retry_seconds),
            ClientDisconnects(max_drains=drains, drain_seconds=settings.gateway_drain_seconds),
            failpoints,
            max_answer_bytes=settings.gateway_max_answer_bytes,
        ),
        relay=Relay(failpoints),
        leases=leases,
        keep_alives=keep_alives,
        failpoints=failpoints,
    )
    messages_api = MessagesApi()
    messages = replace(chat, api=messages_api, limit_lines=lambda limits: anthropic_limit_lines(limits, time.time()))
    models = Models(authentication, catalog, standing)
    key = Key(authentication, standing, Allowances(pipeline, shard_count=shard_count))
    request_log = RequestLog(standard_output() if settings.gateway_request_log else None)
    router = Router(
        {
            "/v1/chat/completions": {"POST": chat},
            "/v1/ai/chat": {"POST": chat},
            "/v1/messages": {"POST": messages},
            "/v1/models": {"GET": models.list},
            "/v1/key": {"GET": key.retrieve},
        },
        {PREFIX: {"GET": models.retrieve}},
        (count_request, request_log.add),
        default_api=chat_api,
        apis={"/v1/messages": messages_api},
        max_open_requests=settings.gateway_max_open_requests,
        cors=Cors(settings.gateway_cors_origins) if settings.gateway_cors_origins else None,
    )
    async with asyncio.TaskGroup() as tasks:
        owned = [
            tasks.create_task(work)
            for work in (
                *(pipeline.run(), spool.run(), catalog.run(), leases.run(), keep_alives.run(), request_log.run()),
                agree_when_reachable(pool, shard_count),
            )
        ]
        try:
            yield Gateway(router, pipeline, pool, catalog, spool)
        finally:
            await spool.finish(seconds=FINISH_SECONDS)
            for task in owned:
                task.cancel()
            await transport.close()
            await pool.close()
            await redis.aclose()
            request_log.flush()


def _redis_changed(connected: bool, leases: Leases, settlement: Settlement) -> None:
    metrics.REDIS_CONNECTED.set(connected)
    if not connected:
        settlement.redis_lost()
        leases.redis_lost()
