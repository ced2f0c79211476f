"""
`PromptCache` remembers prefixes of prompts, as the providers do: the second request with the same prefix reads it.

Per API key and model; a prefix lives as long as it was bought for, and each reading renews it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LEAST_TOKENS = 1024
LIFETIME_SECONDS = {"5m": 300, "1h": 3600}
MOST_PREFIXES = 50_000


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """The end of a prefix that may be cached: where it is (tokens), what it covers, how long it is kept."""

    tokens: int
    fingerprint: bytes
    ttl: str = "5m"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How the input of one request divides. The four add up to the prompt's tokens."""

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class PromptCache:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._expiry: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def use(self, api_key: str, breakpoints: list[Breakpoint], total: int) -> CacheUse:
        """Read the longest known prefix and write the longer ones. Prefixes under 1,024 tokens are not cached."""
        worthy = [point for point in breakpoints if point.tokens >= LEAST_TOKENS]
        known = [point for point in worthy if self._is_known(api_key, point)]
        read = max((point.tokens for point in known), default=0)
        written = {"5m": 0, "1h": 0}
        covered = read
        for point in worthy:
            if point.tokens > covered:
                written[point.ttl] += point.tokens - covered
                covered = point.tokens
            self._remember(api_key, point)
        return CacheUse(total - covered, read, written["5m"], written["1h"])

    def clear(self) -> None:
        self._expiry.clear()

    def _is_known(self, api_key: str, point: Breakpoint) -> bool:
        expiry = self._expiry.get((api_key, point.fingerprint), 0.0)
        return expiry > self._now()

    def _remember(self, api_key: str, point: Breakpoint) -> None:
        self._expiry[api_key, point.fingerprint] = self._now() + LIFETIME_SECONDS[point.ttl]
        self._expiry.move_to_end((api_key, point.fingerprint))
        if len(self._expiry) > MOST_PREFIXES:
            self._expiry.popitem(last=False)
