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
from core.usage.token_usage import TokenUsage
from gateway.accounting.charge import ChargeTerms
from gateway.accounting.event_draft import EventDraft
from gateway.accounting.limits import Limits
from gateway.accounting.offline_allowance import Exposure
from gateway.accounting.reservation import Reservation
from gateway.accounting.settlement import Settlement
from gateway.admission.refusals import refusal
from gateway.admission.reservation_bound import Demand
from gateway.dialects.chat_request import ChatRequest
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
        exposure: Exposure,
        settlement: Settlement,
        spool: Spool,
        *,
        shard_count: int,
        lease_ms: int,
    ) -> None:
        self._pipeline = pipeline
        self._cold_scopes = cold_scopes
        self._exposure = exposure
        self._settlement = settlement
        self._spool = spool
        self._shard_count = shard_count
        self._lease_ms = lease_ms

    async def admit(
        self, principal: Principal, chat: ChatRequest, model: Model, *, event_id: UUID, now_ms: int
    ) -> Reservation:
        """Reserve what the request can cost at most. Raises the GatewayError that says what stands in the way.

        `event_id` and `now_ms` (since 1970) become those of the usage event.
        """
        occurred_at = datetime.fromtimestamp(now_ms / 1000, UTC)
        draft = EventDraft(
            event_id=event_id,
            occurred_at=occurred_at,
            period=billing_period(occurred_at),  # Until Redis says which one pays.
            principal=principal,
            model=model,
            stream=chat.stream,
            service_tier=chat.service_tier,
        )
        keys = ReservationKeys.of(principal.account_id, principal.key_id, event_id, self._shard_count)
        demand = Demand.of(chat, model)
        connection_number = self._pipeline.connection_number  # A later one makes the answer doubtful.
        try:
            reply = await self._ask(draft, keys, demand)
            if reply[0] == COLD:  # A new, emptied or restarted Redis.
                await self._cold_scopes.publish(principal)
                reply = await self._ask(draft, keys, demand)
        except asyncio.CancelledError:
            self._settlement.give_back(draft.void(Unavailable.status))
            raise
        except (RedisAway, RedisReplyError) as error:
            reserved = isinstance(error, RedisUnanswered)
            otherwise = Unavailable(UNCHECKED, retry_after=2.0)
            return self._admit_on_trust(draft, keys, demand, otherwise, may_be_reserved=reserved)
        except Unavailable as error:  # Nobody can say what the account may; a key that was admitted lately goes on.
            return self._admit_on_trust(draft, keys, demand, error)
        if reply[0] != b"admitted":
            if reply[0] in UNTRUSTED:
                self._exposure.forget(principal)
            raise refusal(reply, model.name)
        _, granted, cost, *left, period = reply
        draft.period = _date(period)
        self._exposure.remember(principal, draft.period, time.monotonic())
        if self._exposure.used(principal) and self._spool.empty:
            self._exposure.give_back(principal)
        return self._reservation(draft, keys, demand, granted, cost, Limits(*left), connection_number)

    async def _ask(self, draft: EventDraft, keys: ReservationKeys, demand: Demand) -> Any:
        return await self._pipeline.call(
            script_calls.admit(
                keys,
                epoch=self._pipeline.epoch,
                model=draft.model.name,
                lease_ms=self._lease_ms,
                input_tokens=demand.input_tokens,
                input_cost=demand.input_cost,
                output_tokens=demand.output_tokens,
                fewest_output_tokens=demand.fewest_output_tokens,
                output_cost=demand.output_cost,
                choices=demand.choices,
                event=draft.estimate(TokenUsage(input=demand.likely_input_tokens)).encode(),
            )
        )

    def _admit_on_trust(
        self,
        draft: EventDraft,
        keys: ReservationKeys,
        demand: Demand,
        otherwise: Unavailable,
        *,
        may_be_reserved: bool = False,
    ) -> Reservation:
        period = None
        if self._spool.healthy:
            period = self._exposure.admit(draft.principal, demand.cost, time.monotonic())
        if period is None:
            if may_be_reserved:  # Executed, and too late for us: its estimate must not be charged.
                self._settlement.give_back(draft.void(otherwise.status))
            raise otherwise
        metrics.OFFLINE_ADMISSIONS.inc()
        draft.period = period
        return self._reservation(draft, keys, demand, demand.output_tokens, demand.cost)

    def _reservation(
        self,
        draft: EventDraft,
        keys: ReservationKeys,
        demand: Demand,
        granted: int,
        cost: int,
        limits: Limits | None = None,
        connection_number: int | None = None,
    ) -> Reservation:
        return Reservation(
            self._settlement,
            draft,
            keys,
            cost=cost,
            charge_terms=ChargeTerms(demand.likely_input_tokens, granted * demand.choices, demand.max_input_tokens),
            granted_output=granted,
            limits=limits,
            connection_number=connection_number,
        )


@lru_cache(maxsize=64)
def _date(text: bytes) -> date:
    return date.fromisoformat(text.decode())
