"""
Accounts and keys that Redis does not know, or knew in an earlier life: they are written from Postgres before anything
is admitted or charged. An older state has forgotten what was spent.
"""

from core.accounts.key_directory import KeyDirectory
from core.principal import Principal
from core.redis import script_calls
from core.redis.keys import ReservationKeys
from core.usage.usage_event import UsageEvent
from gateway.errors import Unavailable
from gateway.store.look_ups import LookUps
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, Reply

__all__ = ["COLD", "ColdScopes"]

COLD = b"cold"


class ColdScopes:
    def __init__(self, pipeline: RedisPipeline, directory: KeyDirectory, look_ups: LookUps) -> None:
        self._pipeline = pipeline
        self._directory = directory
        self._look_ups = look_ups

    async def publish(self, principal: Principal) -> bool:
        """False when Postgres has no such account or key. Raises Unavailable."""
        epoch, directory = self._pipeline.epoch, self._directory
        account_id, key_id = principal.account_id, principal.key_id
        ask = self._look_ups.ask
        account = await ask(("account", account_id), lambda: directory.publish_account(account_id, epoch=epoch))
        key = await ask(("key", key_id), lambda: directory.publish_key(key_id, epoch=epoch))
        return account is not None and key is not None

    async def settle(self, keys: ReservationKeys, event: UsageEvent) -> Reply:
        """Once more, what `settle` has answered with COLD. Raises RedisAway when what was spent is unknown:
        it can't be settled now."""
        try:
            known = await self.publish(Principal(event.account_id, event.key_id))
        except Unavailable as error:
            raise RedisAway(error.message) from error
        reply = await self._pipeline.call(script_calls.settle_event(keys, event, epoch=self._pipeline.epoch))
        if reply == COLD and known:
            raise RedisAway("restarted once more while the account was looked up")
        if reply == COLD:  # There is no cap to keep.
            reply = await self._pipeline.call(script_calls.settle_event(keys, event))
        return reply
