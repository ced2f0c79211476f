"""UUIDv7 (RFC 9562): the id of a request, of its reservation and of its usage event. It sorts by time."""

from uuid import UUID

__all__ = ["event_id"]


def event_id(milliseconds: int, random: bytes) -> UUID:
    """`milliseconds` since 1970 and ten random bytes, of which 74 bits are used."""
    number = int.from_bytes(random[:10], "big")
    return UUID(
        int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (number >> 68) << 64
        | 0b10 << 62
        | (number & 0x3FFF_FFFF_FFFF_FFFF)
    )
