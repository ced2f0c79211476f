"""Does a client take what is written to it? Pure: the clock and the number of unread bytes are arguments."""

__all__ = ["ReadingPace"]

MAX_SECONDS = 3600.0
"""However steadily it reads: what waits for one client occupies memory."""


class ReadingPace:
    """A slow client that reads on is served; one that takes no byte for `stalled_seconds` is not."""

    __slots__ = ("_began", "_moved_at", "_stalled_seconds", "_unread")

    def __init__(self, unread: int, now: float, *, stalled_seconds: float) -> None:
        self._unread = unread
        self._began = self._moved_at = now
        self._stalled_seconds = stalled_seconds

    def given_up(self, unread: int, now: float) -> bool:
        """Call it from time to time with what is unread by now."""
        if unread < self._unread:
            self._moved_at = now
        self._unread = unread
        return now - self._moved_at >= self._stalled_seconds or now - self._began >= MAX_SECONDS
