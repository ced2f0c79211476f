"""
API keys: `pk_live_` + 43 base62 characters (256 random bits) + 6 base62 characters of CRC32.

The checksum lets a client, a secret scanner and the gateway refuse a typo without any look-up. Only the keyed digest
of a key is stored, so neither a database dump nor a Redis dump can be used as a key. Two peppers may be live at once:
keys made under the older one keep working until it is taken out of the settings (docs/operations.md, "Rotate the
pepper").
"""

import hmac
import secrets
import string
import zlib
from dataclasses import dataclass, field

from core.process.settings import Secret

__all__ = ["ApiKey", "Pepper", "PepperRing", "is_well_formed", "pepper_secret"]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIXES = ("pk_live_", "pk_test_")
RANDOM_CHARACTERS = 43
CHECKSUM_CHARACTERS = 6
LENGTH = len(PREFIXES[0]) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
DISPLAYED_CHARACTERS = 12
LARGEST_PEPPER_ID = 2**31 - 1
"""Of the column that keeps it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in clear. It exists while it is created and while a request is authenticated, nowhere else."""

    text: str = field(repr=False)

    @classmethod
    def generate(cls, prefix: str = PREFIXES[0]) -> "ApiKey":
        body = prefix + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
        return cls(body + _checksum(body))

    @property
    def display_prefix(self) -> str:
        """What tells keys apart on a screen: the type and the first four random characters."""
        return self.text[:DISPLAYED_CHARACTERS]


def is_well_formed(text: str) -> bool:
    """True for what `generate` can have made. Every change of a single character makes it false."""
    if len(text) != LENGTH or not text.startswith(PREFIXES) or not text.isascii():
        return False
    return text[-CHECKSUM_CHARACTERS:] == _checksum(text[:-CHECKSUM_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Pepper:
    """The server-side secret of the digests. `id` is stored beside each digest, the secret nowhere."""

    id: int
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Pepper":
        """`"<id>:<64 hex digits>"`. The message of the ValueError never repeats the secret."""
        number, _, digits = text.partition(":")
        try:
            pepper = cls(int(number), bytes.fromhex(digits))
        except ValueError:
            raise ValueError("must look like <id>:<64 hex digits>") from None
        if len(pepper.secret) != 32 or not 1 <= pepper.id <= LARGEST_PEPPER_ID:
            raise ValueError(f"must look like <id>:<64 hex digits>, with an id from 1 to {LARGEST_PEPPER_ID}")
        return pepper

    def digest(self, key: str) -> bytes:
        return hmac.digest(self.secret, key.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class PepperRing:
    """The current pepper and, during a rotation, the one before."""

    current: Pepper
    previous: Pepper | None = None

    @property
    def ids(self) -> list[int]:
        return [pepper.id for pepper in (self.current, self.previous) if pepper is not None]

    def digests(self, key: str) -> list[bytes]:
        """The digests under which the key may be stored, the likelier one first."""
        peppers = [self.current] if self.previous is None else [self.current, self.previous]
        return [pepper.digest(key) for pepper in peppers]


def pepper_secret(text: str) -> Secret:
    """For a setting: the pepper's text as it is, after a look at it. Raises ValueError as `Pepper.parse`."""
    Pepper.parse(text)
    return Secret(text)


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), []
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))
