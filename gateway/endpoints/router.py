"""
The handler of the public port: which endpoint answers, what an error looks like, and the record that every request
leaves to the observers. The only boundary that turns errors into bytes.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from core.usage.event_id import event_id
from gateway.dialects.client_api import ClientApi
from gateway.errors import ClientGone, GatewayError, MethodNotAllowed, Overloaded, RouteNotFound, UpstreamRefused
from gateway.inbound.cors import Cors
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import Observer, RequestOutcome, RequestRecord

__all__ = ["Endpoint", "Router"]

log = logging.getLogger(__name__)

Endpoint = Callable[[Exchange, RequestRecord], Awaitable[None]]


class Router:
    """`routes` maps a path to its endpoint by method; `prefixes` does so for everything below a path.

    `apis` are those of the paths whose errors are not said in the words of `default_api`.
    """

    def __init__(
        self,
        routes: Mapping[str, Mapping[str, Endpoint]],
        prefixes: Mapping[str, Mapping[str, Endpoint]],
        observers: Sequence[Observer],
        *,
        default_api: ClientApi,
        apis: Mapping[str, ClientApi],
        max_open_requests: int,
        cors: Cors | None = None,
    ) -> None:
        self.draining = False
        self.open_requests = 0
        self._routes = routes
        self._prefixes = prefixes
        self._observers = observers
        self._default_api = default_api
        self._apis = apis
        self._max_open_requests = max_open_requests
        self._cors = cors

    async def __call__(self, client: Exchange) -> None:
        received_ms = time.time_ns() // 1_000_000
        request_id = event_id(received_ms, os.urandom(10))
        record = RequestRecord(client.method, client.path, request_id, time.monotonic(), received_ms)
        api = self._apis.get(client.path, self._default_api)
        client.extra_headers = b"%b: %b\r\n" % (api.request_id_header, str(record.request_id).encode())
        if self._cors is not None:
            client.extra_headers += self._cors.lines(client.headers)
        self.open_requests += 1
        try:
            await self._answer(client, record)
            record.outcome = RequestOutcome.OK
        except GatewayError as error:
            record.code = error.code or error.type
            record.refusal = "upstream_refused" if isinstance(error, UpstreamRefused) else record.code
            await (_end_stream if client.started else _send_error)(client, record, api, error)
        except ClientGone:
            record.outcome = RequestOutcome.CLIENT_GONE
        except asyncio.CancelledError:
            record.outcome = RequestOutcome.CUT  # The shutdown waits no longer; what had to be recorded has been.
            stopping = Overloaded("This gateway is stopping. Please try again.", retry_after=1.0)
            await _send_error(client, record, api, stopping)
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": str(record.request_id)})
            record.code = "internal_error"
            message = f"Something went wrong on our side; request {record.request_id}."
            await _send_error(client, record, api, GatewayError(message))
        finally:
            self.open_requests -= 1
            self._close(client, record)

    def _close(self, client: Exchange, record: RequestRecord) -> None:
        record.status = record.status or client.status or ClientGone.status
        record.answered = client.started
        record.first_byte_at = client.first_byte_at
        for observe in self._observers:
            observe(record)

    async def _answer(self, client: Exchange, record: RequestRecord) -> None:
        if client.method == "OPTIONS" and self._cors is not None:
            told = self._cors.preflight(client.headers)
            if told is not None:
                await client.answer(200, told, b"")
                return
        endpoint = self._endpoint(client)
        if self.open_requests > self._max_open_requests:
            raise Overloaded("This gateway is at its limit of open requests. Please try again.", retry_after=1.0)
        await endpoint(client, record)

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


async def _send_error(client: Exchange, record: RequestRecord, api: ClientApi, error: GatewayError) -> None:
    if client.started or client.client_gone:
        return  # Too late to say so: the connection closes, and the client sees a broken answer.
    with suppress(ClientGone):
        await client.answer(*api.error(error, str(record.request_id)))


async def _end_stream(client: Exchange, record: RequestRecord, api: ClientApi, error: GatewayError) -> None:
    """The head went out early, to keep the connection alive: the error is the stream's only event."""
    record.status = error.status  # For the observers: the client has been told 200.
    if client.finished:
        return
    with suppress(ClientGone):
        await client.send(api.error_frame(error, str(record.request_id)), more=False)
