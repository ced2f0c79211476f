"""Who a request acts for."""

from dataclasses import dataclass
from typing import NewType

__all__ = ["AccountId", "KeyId", "Principal"]

AccountId = NewType("AccountId", int)
KeyId = NewType("KeyId", int)


@dataclass(frozen=True, slots=True)
class Principal:
    """The account and the key behind a bearer token. The mapping never changes, so it may be cached for long; whether
    the key may still be used is asked on every request (admission)."""

    account_id: AccountId
    key_id: KeyId

    @classmethod
    def parse(cls, text: bytes) -> "Principal":
        """The value of a `key:{digest}` entry, `b"<account>:<key>"`."""
        account, _, key = text.partition(b":")
        return cls(AccountId(int(account)), KeyId(int(key)))

    def __bytes__(self) -> bytes:
        return b"%d:%d" % (self.account_id, self.key_id)
