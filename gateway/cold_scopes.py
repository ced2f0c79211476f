"""Accounts and keys that Redis does not know, or knew in an earlier life: they are written from Postgres before use."""

from core.key_directory import KeyDirectory
from core.principal import Principal
from gateway.look_ups import LookUps

__all__ = ["ColdScopes"]


class ColdScopes:
    def __init__(self, directory: KeyDirectory, look_ups: LookUps) -> None:
        self._directory = directory
        self._look_ups = look_ups

    async def publish(self, principal: Principal, epoch: str) -> None:
        """`epoch` is that of the server which said that it does not know them. Raises Unavailable."""
        account_id, key_id, directory = principal.account_id, principal.key_id, self._directory
        await self._look_ups.ask(("account", account_id), lambda: directory.publish_account(account_id, epoch=epoch))
        await self._look_ups.ask(("key", key_id), lambda: directory.publish_key(key_id, epoch=epoch))
