"""
How a provider's rate limit is kept apart from its health: a 429 with Retry-After pauses the account whose request it
refused, not the model. While the pause lasts, one request at a time of any other account finds out whether the limit
was about that one request (a prompt too large for what is left of the minute) or about all: an answer ends the pause.
"""

from dataclasses import dataclass, replace

__all__ = ["NO_PAUSE", "RatePause"]

MAX_ACCOUNTS = 16
"""Refused in one pause; after so many probes the limit is about all."""


@dataclass(frozen=True, slots=True)
class RatePause:
    """A value: every event makes a new one."""

    until: float = 0.0
    accounts: frozenset[int] = frozenset()
    """Whose requests the provider has refused."""
    probing: bool = False

    def admits(self, account: int, now: float) -> bool:
        if now >= self.until:
            return True
        return not self.probing and account not in self.accounts and len(self.accounts) < MAX_ACCOUNTS

    def is_probe(self, now: float) -> bool:
        """Whether a request that begins now is sent in spite of the pause."""
        return now < self.until

    def probed(self) -> "RatePause":
        return replace(self, probing=True)

    def refused(self, account: int, *, wait: float, now: float, probe: bool) -> "RatePause":
        others = self.accounts if now < self.until else frozenset()
        return RatePause(max(self.until, now + wait), others | {account}, self.probing and not probe)

    def ended(self, *, answered: bool) -> "RatePause":
        """A probe is over that was not refused again."""
        return NO_PAUSE if answered else replace(self, probing=False)


NO_PAUSE = RatePause()
