"""
Records of the spool on their way to Redis, and what its refusals mean: "not now" for all, or "never" for one of them.
"""

import asyncio
from collections.abc import Sequence

from core.redis import script_calls
from core.redis.keys import ReservationKeys
from gateway.spool.record import Record
from gateway.store.cold_scopes import COLD, ColdScopes
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError

__all__ = ["Replay"]

NOT_NOW = frozenset(
    (
        *("OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE", "NOSCRIPT"),
        *("CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "NOAUTH", "NOPERM", "WRONGPASS"),
    )
)
"""First words of errors that pass when Redis is repaired. After every other one, the same call would be refused
again, for ever."""
OF_THE_SERVER = ("ACL failure in script", "nknown command", "nknown Redis command")
"""Parts of errors that have no first word of their own and speak of our rights, not of the record."""


class Replay:
    def __init__(self, pipeline: RedisPipeline, cold_scopes: ColdScopes, *, shard_count: int) -> None:
        self._pipeline = pipeline
        self._cold_scopes = cold_scopes
        self._shard_count = shard_count

    async def send(self, records: Sequence[Record]) -> list[str]:
        """For each record, why Redis will never take it, or nothing: it has. Raises RedisAway: try all again later."""
        refusals, away = await self.try_to_send(records)
        if away is not None:
            raise away
        return [refusal or "" for refusal in refusals]

    async def try_to_send(self, records: Sequence[Record]) -> tuple[list[str | None], RedisAway | None]:
        """The same, with None for what has to be tried again later, and why."""
        results = await asyncio.gather(*(self._send(record) for record in records), return_exceptions=True)
        refusals: list[str | None] = []
        away = None
        for result in results:
            if isinstance(result, RedisAway):
                away = result
            elif isinstance(result, BaseException):
                raise result
            refusals.append(None if isinstance(result, RedisAway) else result)
        return refusals, away

    async def _send(self, record: Record) -> str:
        event = record.event
        keys = ReservationKeys.of(event.account_id, event.key_id, event.event_id, self._shard_count)
        try:
            call = script_calls.settle_event(keys, event, epoch=self._pipeline.epoch)
            if await self._pipeline.call(call) == COLD:
                await self._cold_scopes.settle(keys, event)
        except RedisReplyError as error:
            if error.code in NOT_NOW or any(part in str(error) for part in OF_THE_SERVER):
                raise RedisAway(str(error)) from error
            return str(error)
        return ""
