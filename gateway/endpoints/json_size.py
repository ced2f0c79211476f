"""
How many values a JSON text holds, counted before a parser makes an object of each. Pure.

Bytes say little about that: 33 MB of `[],[],…` become a gigabyte. Commas and brackets inside of texts are no values;
they are only told apart where all of them together are too many.
"""

__all__ = ["holds_more_values"]

MARKS = (b",", b"[", b"{")
"""Each value stands behind one of these."""
SLICE_BYTES = 1 << 18
"""A thread that works on one slice after the other lets the loop run in between."""


def holds_more_values(text: bytes, maximum: int) -> bool:
    return _marks(text) > maximum and _values(text, maximum) > maximum


def _marks(text: bytes) -> int:
    return sum(text.count(mark) for mark in MARKS)


def _values(text: bytes, maximum: int) -> int:
    """Of what stands outside of texts; stops soon after `most`."""
    found, in_text, start = 0, False, 0
    while start < len(text) and found <= maximum:
        piece = text[start : start + SLICE_BYTES]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # An escape must not be cut in two.
            piece = text[start : start + SLICE_BYTES + 1]
        start += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        found += sum(_marks(part) for part in parts[int(in_text) :: 2])
        in_text ^= len(parts) % 2 == 0
    return found
