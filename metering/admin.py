"""
The port for the operator's machines: `/healthz` (the process runs), `/readyz` (it can do its work: 200 or 503, JSON per
check), `/metrics` (Prometheus).
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["Check", "serve_admin"]

CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[object]]
"""Returns when all is well, raises otherwise."""


def _application(checks: Mapping[str, Check]) -> Starlette:
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        results = dict(zip(checks, await asyncio.gather(*map(_result, checks.values())), strict=True))
        ready = set(results.values()) <= {"ok"}
        return JSONResponse({"ready": ready, "checks": results}, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes)


async def _result(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001  # Whatever it is, the answer names it.
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    return "ok"


class _Server(uvicorn.Server):
    """Without signal handlers of its own: the process has one owner for SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_admin(listener: socket.socket, checks: Mapping[str, Check], stop: asyncio.Event) -> None:
    """Answer on `listener` until `stop` is set."""
    config = uvicorn.Config(
        _application(checks),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]))
        await stop.wait()
        server.should_exit = True
