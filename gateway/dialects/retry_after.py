"""How long an upstream asks us to wait."""

import math
from email.utils import parsedate_to_datetime

from gateway.dialects.translator import Header

__all__ = ["retry_after"]


def retry_after(header: Header, now: float | None) -> float | None:
    """
    Seconds, or None when the upstream names no wait that can be understood.

    `retry-after-ms` is finer and comes first. Retry-After is seconds or an HTTP date, which needs `now` (Unix seconds).
    """
    milliseconds = _number(header(b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = header(b"retry-after")
    seconds = _number(value)
    return _until(value, now) if seconds is None else seconds


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(value: bytes | None, now: float | None) -> float | None:
    if value is None or now is None:
        return None
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
    except (ValueError, OverflowError):  # UnicodeDecodeError is a ValueError.
        return None
    return max(0.0, date.timestamp() - now) if date.tzinfo else None
