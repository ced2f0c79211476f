"""
The port for the operator's machines: `/healthz` (the process runs), `/readyz` (it can do its work: 200 or 503, with a
JSON object of its checks), `/metrics` (Prometheus).
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["OK", "AdminApplication", "Check", "Readiness", "admin_application", "all_ready", "check", "serve_admin"]

CHECK_SECONDS = 2.0
OK = "ok"

AdminApplication = Starlette

Check = Callable[[], Awaitable[object]]
"""Returns when all is well, raises otherwise."""


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    checks: Mapping[str, object]
    """By name; "ok", or what is wrong."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Shown beside the checks."""


async def check(probe: Check) -> str:
    """OK, or the error of a probe; one that takes longer than two seconds has failed."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await probe()
    except Exception as error:  # noqa: BLE001  # Whatever it is, the answer names it.
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return OK


async def all_ready(checks: Mapping[str, Check]) -> Readiness:
    """Ready when every check is OK."""
    results = dict(zip(checks, await asyncio.gather(*map(check, checks.values())), strict=True))
    return Readiness(set(results.values()) <= {OK}, results)


def admin_application(
    readiness: Callable[[], Awaitable[Readiness]], registry: Callable[[], CollectorRegistry] = lambda: REGISTRY
) -> AdminApplication:
    """`registry` is asked at each scrape."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": OK})

    async def readyz(_: Request) -> Response:
        state = await readiness()
        document = {"ready": state.ready, "checks": dict(state.checks), **state.counts}
        return JSONResponse(document, status_code=200 if state.ready else 503)

    async def metrics(_: Request) -> Response:
        text = await asyncio.to_thread(generate_latest, registry())  # Not in the loop: it may read many files.
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class _Server(uvicorn.Server):
    """Without signal handlers of its own: a process has one owner for SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_admin(listener: socket.socket, application: AdminApplication, stop: asyncio.Event) -> None:
    """Answer on `listener` until `stop` is set."""
    config = uvicorn.Config(
        application,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        await stop.wait()
        server.should_exit = True
