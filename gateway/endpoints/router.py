"""
The ASGI application of the public port: which endpoint answers, what an error looks like, and the one line and the
metrics that every request leaves behind. Raw ASGI, because this is the hot path; no framework object enters it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from gateway.dialects.openai.error_answer import error_answer
from gateway.dialects.openai.error_frame import error_frame
from gateway.errors import GatewayError, MethodNotAllowed, Overloaded, RouteNotFound, UpstreamRefused
from gateway.inbound.cors import Cors
from gateway.inbound.exchange import ClientGone, Exchange, Receive
from gateway.records import metrics
from gateway.records.request_log import RequestLog

__all__ = ["Endpoint", "Front"]

log = logging.getLogger(__name__)

Endpoint = Callable[[Exchange], Awaitable[None]]

CLIENT_GONE_STATUS = 499


class Front:
    """`routes` maps a path to its endpoint by method; `prefixes` does so for everything below a path."""

    def __init__(
        self,
        routes: Mapping[str, Mapping[str, Endpoint]],
        prefixes: Mapping[str, Mapping[str, Endpoint]],
        request_log: RequestLog,
        *,
        max_open_requests: int,
        cors: Cors | None = None,
    ) -> None:
        self.draining = False
        self.open_requests = 0
        self._routes = routes
        self._prefixes = prefixes
        self._request_log = request_log
        self._max_open_requests = max_open_requests
        self._cors = cors

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: object) -> None:
        """`send` is not used: `Exchange` writes to the connection itself."""
        client = Exchange(scope, receive)
        request_id = str(client.request_id)
        client.answer_headers.append((b"x-request-id", request_id.encode()))
        if self._cors is not None:
            client.answer_headers += self._cors.headers(client.headers)
        self.open_requests += 1
        metrics.OPEN_REQUESTS.inc()
        outcome, code = "error", ""
        try:
            await self._answer(client)
            outcome = "ok"
        except GatewayError as error:
            code = error.code or error.type
            # A provider may call its errors whatever it likes; a label must stay bounded.
            metrics.REFUSALS.labels("upstream_refused" if isinstance(error, UpstreamRefused) else code).inc()
            await (_end_stream(client, error) if client.started else _send_error(client, error))
        except ClientGone:
            outcome, client.status = "client_gone", client.status or CLIENT_GONE_STATUS
        except asyncio.CancelledError:
            outcome = "cut"  # The shutdown's patience is over; what had to be recorded has been.
            await _send_error(client, Overloaded("This gateway is stopping. Please try again.", retry_after=1.0))
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            code = "internal_error"
            await _send_error(client, GatewayError(f"Something went wrong on our side; request {request_id}."))
        finally:
            self.open_requests -= 1
            metrics.OPEN_REQUESTS.dec()
            _count(client)
            self._request_log.add(client, request_id=request_id, outcome=outcome, code=code)

    async def _answer(self, client: Exchange) -> None:
        if client.method == "OPTIONS" and self._cors is not None:
            told = self._cors.preflight(client.headers)
            if told is not None:
                await client.answer(200, told, b"")
                return
        endpoint = self._endpoint(client)
        if self.open_requests > self._max_open_requests:
            raise Overloaded("This gateway is at its limit of open requests. Please try again.", retry_after=1.0)
        await endpoint(client)

    def _endpoint(self, client: Exchange) -> Endpoint:
        methods = self._routes.get(client.path)
        if methods is None:
            methods = next((below for prefix, below in self._prefixes.items() if client.path.startswith(prefix)), None)
        if methods is None:
            raise RouteNotFound(f"There is no {client.method} {client.path[:200]}.")
        endpoint = methods.get("GET" if client.method == "HEAD" else client.method)
        if endpoint is None:
            raise MethodNotAllowed(f"{client.path[:200]} takes {', '.join(methods)}.", allow=", ".join(methods))
        return endpoint


async def _send_error(client: Exchange, error: GatewayError) -> None:
    if client.started or client.client_gone:
        return  # Too late to say so: the connection closes, and the client sees a broken answer.
    try:
        await client.answer(*error_answer(error))
    except ClientGone:
        client.status = CLIENT_GONE_STATUS


async def _end_stream(client: Exchange, error: GatewayError) -> None:
    """The head went out early, to keep the connection alive: the error is the stream's only event."""
    client.status = error.status  # For the log and the metrics: the client has been told 200.
    if client.finished:
        return
    with suppress(ClientGone):
        await client.send(error_frame(error.message, error.type, error.code, error.param), more=False)


def _count(client: Exchange) -> None:
    reservation = client.reservation
    model = client.model.name if client.model else ""
    target = reservation.target if reservation else None
    metrics.counter(metrics.REQUESTS, model, target.provider.name if target else "", str(client.status)).inc()
    if reservation is None or not client.started:
        return
    metrics.histogram(metrics.DURATION, model).observe(time.monotonic() - client.received_at)
    metrics.histogram(metrics.FIRST_BYTE, model).observe(client.first_byte_seconds)
    metrics.OVERHEAD.observe(max(0.0, client.first_byte_seconds - client.upstream_seconds))
