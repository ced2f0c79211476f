"""`POST /v1/chat/completions`, `/v1/messages`: one request, in one screen, whatever API its client speaks."""

from collections.abc import Callable
from dataclasses import dataclass

from core.principal import Principal
from core.process.failpoints import Failpoints
from gateway.accounting.leases import Leases
from gateway.accounting.rate_limit_headers import Limits
from gateway.admission.admission import Admission
from gateway.admission.authentication import Authentication
from gateway.admission.surcharges import refuse_unpriced
from gateway.answering.failover import Failover
from gateway.answering.keep_alive import KeepAlives
from gateway.answering.relay import Relay
from gateway.dialects.client_api import ClientApi
from gateway.dialects.generation_request import GenerationRequest
from gateway.endpoints.bodies import Bodies
from gateway.inbound.exchange import Exchange
from gateway.records.request_record import RequestRecord
from gateway.upstreams.catalog import Catalog

__all__ = ["Generation"]


@dataclass(frozen=True, slots=True)
class Generation:
    api: ClientApi
    limit_lines: Callable[[Limits | None], bytes]
    """What is left, as header lines in the words of the API."""
    authentication: Authentication
    bodies: Bodies
    admission: Admission
    catalog: Catalog
    failover: Failover
    relay: Relay
    leases: Leases
    keep_alives: KeepAlives
    failpoints: Failpoints

    async def __call__(self, client: Exchange, record: RequestRecord) -> None:
        """Raises GatewayError before the answer has started, or while nothing but keep-alives has been sent; after that
        the answer itself tells what went wrong."""
        principal = record.principal = await self.authentication.identify(client.headers)
        try:
            await self._answer(client, record, principal, await self.bodies.read(client, principal, self.api.parse))
        finally:
            self.bodies.release(client)

    async def _answer(
        self, client: Exchange, record: RequestRecord, principal: Principal, request: GenerationRequest
    ) -> None:
        routed = self.catalog.model(request.model)
        record.model = routed.model
        refuse_unpriced(request, routed.model)

        reservation = await self.admission.admit(
            principal, request, routed.model, event_id=record.request_id, now_ms=record.received_ms
        )
        record.admitted = True
        self.failpoints.reach("after_admission")
        client.extra_headers += self.limit_lines(reservation.limits)
        self.leases.add(reservation)
        if request.stream:
            self.keep_alives.add(client, record, self.api, request, reservation)
        try:
            answer = await self.failover.open(client, record, request, routed.upstreams, reservation)
            await self.relay.run(client, record, self.api, answer, reservation)  # Settles it, whatever happens.
        except BaseException as error:
            await reservation.fail(error)
            raise
        finally:
            self.leases.remove(reservation)
            record.target, record.attempts, record.event = reservation.target, reservation.attempt, reservation.settled
            self.keep_alives.remove(client)
