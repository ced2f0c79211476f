"""
May this request run? One round trip to Redis answers for the account and the key at once: status, expiry, allowed
models, requests and tokens per minute, concurrency and spending cap. It checks everything, then takes from all or from
none, so a revocation or a new cap holds on the very next request, on every gateway.

What is reserved is an upper bound: the input by its bytes, the output by the client's limit or the model's default.
When the caps leave less than that, the answer is limited to what they can pay; it is refused only when nothing useful
is left. The reservation holds the event to record should this process die, so nothing that Redis has admitted can end
without one.
"""

import asyncio
import time
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from core.models.models_file import Model
from core.principal import Principal
from core.redis import script_calls
from core.redis.keys import ReservationKeys
from core.usage.billing_period import billing_period
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.accounting.rate_limit_headers import Limits
from gateway.accounting.reservation import Reservation
from gateway.accounting.settlement import Settlement
from gateway.admission.refusals import refusal
from gateway.admission.reservation_bound import ReservationBound
from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import Unavailable
from gateway.records import metrics
from gateway.spool.spool import Spool
from gateway.store.cold_scopes import COLD, ColdScopes
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError, RedisUnanswered

__all__ = ["Admission"]

UNTRUSTED = {b"suspended", b"revoked", b"expired", b"cap"}
"""Refusals after which a key is not served on trust. A full minute says nothing about the next outage."""
UNCHECKED = "Limits can't be checked right now. Please try again."


class Admission:
    def __init__(
        self,
        pipeline: RedisPipeline,
        cold_scopes: ColdScopes,
        allowance: OfflineAllowance,
        settlement: Settlement,
        spool: Spool,
        *,
        shard_count: int,
        lease_ms: int,
    ) -> None:
        self._pipeline = pipeline
        self._cold_scopes = cold_scopes
        self._allowance = allowance
        self._settlement = settlement
        self._spool = spool
        self._shard_count = shard_count
        self._lease_ms = lease_ms

    async def admit(
        self, principal: Principal, chat: GenerationRequest, model: Model, *, event_id: UUID, now_ms: int
    ) -> Reservation:
        """Reserve what the request can cost at most. Raises the GatewayError that says what stands in the way.

        `event_id` and `now_ms` (since 1970) become those of the usage event.
        """
        occurred_at = datetime.fromtimestamp(now_ms / 1000, UTC)
        bound = ReservationBound.of(chat, model)
        reservation = Reservation(
            settlement=self._settlement,
            keys=ReservationKeys.of(principal.account_id, principal.key_id, event_id, self._shard_count),
            principal=principal,
            model=model,
            event_id=event_id,
            occurred_at=occurred_at,
            period=billing_period(occurred_at),
            stream=chat.stream,
            service_tier=chat.service_tier,
            likely_input=bound.likely_input_tokens,
            max_input=bound.max_input_tokens,
            choices=bound.choices,
        )
        connection_number = self._pipeline.connection_number  # A later one makes the answer doubtful.
        try:
            reply = await self._ask(reservation, bound)
            if reply[0] == COLD:  # A new, emptied or restarted Redis.
                await self._cold_scopes.publish(principal)
                reply = await self._ask(reservation, bound)
        except asyncio.CancelledError:
            reservation.give_back(Unavailable.status)
            raise
        except (RedisAway, RedisReplyError) as error:
            otherwise = Unavailable(UNCHECKED, retry_after=2.0)
            self._grant_on_trust(reservation, bound, otherwise, may_be_reserved=isinstance(error, RedisUnanswered))
            return reservation
        except Unavailable as error:  # What the account may is unknown; a key that was admitted lately goes on.
            self._grant_on_trust(reservation, bound, error)
            return reservation
        if reply[0] != b"admitted":
            if reply[0] in UNTRUSTED:
                self._allowance.forget(principal)
            raise refusal(reply, model.name)
        _, output_tokens, cost, *left, period = reply
        reservation.grant(output_tokens, cost, _date(period), Limits(*left), connection_number)
        self._allowance.remember(principal, reservation.period, time.monotonic())
        if self._allowance.used(principal) and self._spool.empty:
            self._allowance.give_back(principal)
        return reservation

    async def _ask(self, reservation: Reservation, bound: ReservationBound) -> Any:
        return await self._pipeline.call(
            script_calls.admit(
                reservation.keys,
                epoch=self._pipeline.epoch,
                model=reservation.model.name,
                lease_ms=self._lease_ms,
                input_tokens=bound.input_tokens,
                input_cost=bound.input_cost,
                output_tokens=bound.output_tokens,
                min_output_tokens=bound.min_output_tokens,
                output_cost=bound.output_cost,
                choices=bound.choices,
                event=reservation.estimate().encode(),
            )
        )

    def _grant_on_trust(
        self,
        reservation: Reservation,
        bound: ReservationBound,
        otherwise: Unavailable,
        *,
        may_be_reserved: bool = False,
    ) -> None:
        """Raises `otherwise` when the account has no allowance left."""
        period = None
        if self._spool.healthy:
            period = self._allowance.admit(reservation.principal, bound.cost, time.monotonic())
        if period is None:
            if may_be_reserved:  # Executed, and too late for us: its estimate must not be charged.
                reservation.give_back(otherwise.status)
            raise otherwise
        metrics.OFFLINE_ADMISSIONS.inc()
        reservation.grant(bound.output_tokens, bound.cost, period)


@lru_cache(maxsize=64)
def _date(text: bytes) -> date:
    return date.fromisoformat(text.decode())
