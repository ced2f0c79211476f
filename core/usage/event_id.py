"""UUIDv7 (RFC 9562): the id of a request, of its reservation and of its usage event. It sorts by time."""

from uuid import UUID, SafeUUID

__all__ = ["EventId", "event_id"]


class EventId(UUID):
    """A UUID that keeps its text: a request writes it into its answer, its log line, three Redis calls and upstream."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self, number: int) -> None:
        # As UUID's, without looking for its other forms. UUIDs refuse to be changed, as they should.
        object.__setattr__(self, "int", number)
        object.__setattr__(self, "is_safe", SafeUUID.unknown)
        digits = f"{number:032x}"
        text = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        object.__setattr__(self, "_text", text)

    def __str__(self) -> str:
        return self._text


def event_id(milliseconds: int, random: bytes) -> EventId:
    """`milliseconds` since 1970 and ten random bytes, of which 74 bits are used."""
    number = int.from_bytes(random[:10], "big")
    return EventId(
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (number >> 68) << 64
        | 0b10 << 62
        | (number & 0x3FFF_FFFF_FFFF_FFFF)
    )
