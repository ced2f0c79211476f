"""Which expired leases have been seen unchanged for long enough. Pure: the clock is an argument."""

from collections.abc import Iterable

__all__ = ["Suspects"]


class Suspects:
    """Remembers what it saw at the last look, and nothing else: at most one entry for each lease of that look."""

    def __init__(self, confirm_seconds: float) -> None:
        self._confirm_seconds = confirm_seconds
        self._seen: dict[bytes, tuple[float, float]] = {}

    def look(self, expired: Iterable[tuple[bytes, float]], now: float) -> list[bytes]:
        """`expired` are the ids and deadlines of all leases that have run out now. Returns the ids of those that had
        run out, with the same deadline, since a look at least `confirm_seconds` ago."""
        seen: dict[bytes, tuple[float, float]] = {}
        for event_id, deadline in expired:
            earlier = self._seen.get(event_id)
            seen[event_id] = earlier if earlier and earlier[0] == deadline else (deadline, now)
        self._seen = seen
        return [event_id for event_id, (_, since) in seen.items() if now - since >= self._confirm_seconds]
