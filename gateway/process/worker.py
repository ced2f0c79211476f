"""One gateway process: two servers (public and admin) on inherited sockets, and an orderly end."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, disable_created_metrics

from core.process.admin_port import AdminApplication, admin_application, serve_admin
from core.process.failpoints import Failpoints
from gateway.app import Gateway, open_gateway
from gateway.inbound.connections import Connections, connection_limit
from gateway.inbound.server import GatewayServer
from gateway.process.readiness import GatewayReadiness, all_workers, this_process
from gateway.records import metrics
from gateway.settings import GatewaySettings

__all__ = ["serve"]

log = logging.getLogger(__name__)

PARENT_CHECK_SECONDS = 1.0
HAND_OVER_SECONDS = 0.1
COLLECT_AFTER = 20_000
"""New objects between two searches for cycles. A request leaves none behind: Python's 700 would search in vain."""


async def serve(
    settings: GatewaySettings,
    environment: Mapping[str, str],
    public: socket.socket,
    admin: socket.socket,
    *,
    failpoints: Failpoints,
    parent: int | None,
    version: str,
) -> None:
    """Until SIGTERM, SIGINT, or the death of the parent process. Answers that are under way then are finished first."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # Twice the series, for nothing that we show.
    metrics.BUILD.labels(version).set(1)
    metrics.WORKER_STARTED.set_to_current_time()
    metrics.OPEN_REQUESTS_LIMIT.set(settings.gateway_max_open_requests)
    connections = Connections(
        limit=connection_limit(settings.gateway_max_connections),
        idle_seconds=settings.gateway_idle_seconds,
        stalled_seconds=settings.gateway_stalled_client_seconds,
    )
    async with open_gateway(settings, environment, failpoints) as gateway:
        server = GatewayServer(
            gateway.router,
            connections,
            delay_seconds=settings.gateway_shutdown_delay_seconds,
            grace_seconds=settings.gateway_shutdown_seconds,
            on_drain=lambda: _drain(gateway),
        )
        watches = [
            asyncio.create_task(_follow_parent(parent, server)),
            asyncio.create_task(_hand_over_now_and_then(gateway)),
        ]
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.begin_drain)
        loop.add_signal_handler(signal.SIGHUP, gateway.catalog.reload_soon)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # One that came earlier is heard now.
        gc.freeze()  # What is there now stays for ever: no search has to look at it.
        gc.set_threshold(COLLECT_AFTER)
        application = _admin_application(gateway, connections, several="PROMETHEUS_MULTIPROC_DIR" in environment)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as servers:
            servers.create_task(serve_admin(admin, application, stop))
            log.info("gateway worker is serving", extra={"pid": os.getpid(), "port": public.getsockname()[1]})
            await server.serve(public)
            stop.set()
        for watch in watches:
            watch.cancel()
        _hand_over(gateway)


def _admin_application(gateway: Gateway, connections: Connections, *, several: bool) -> AdminApplication:
    readiness = GatewayReadiness(gateway.router, connections, gateway.pipeline, gateway.pool, gateway.spool)

    def registry() -> CollectorRegistry:
        _hand_over(gateway)
        return all_workers() if several else this_process()

    return admin_application(readiness, registry)


def _drain(gateway: Gateway) -> None:
    gateway.router.draining = True
    log.info("draining", extra={"open_requests": gateway.router.open_requests})


def _hand_over(gateway: Gateway) -> None:
    metrics.OPEN_REQUESTS.set(gateway.router.open_requests)
    metrics.TALLIES.flush()


async def _hand_over_now_and_then(gateway: Gateway) -> None:
    """For a scrape that another worker answers."""
    while True:
        _hand_over(gateway)
        await asyncio.sleep(HAND_OVER_SECONDS)


async def _follow_parent(parent: int | None, server: GatewayServer) -> None:
    """A worker whose parent was killed must not keep serving on its own."""
    while parent is not None:
        await asyncio.sleep(PARENT_CHECK_SECONDS)
        if os.getppid() != parent:
            log.error("the parent process is gone")
            server.begin_drain()
            return
