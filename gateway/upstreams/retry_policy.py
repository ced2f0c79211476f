"""What to do after an upstream attempt has failed. Pure: randomness is an argument, the decision a value."""

from dataclasses import dataclass
from enum import Enum

from gateway.failure import Fault, UpstreamFailure

__all__ = ["Decision", "GiveUp", "RetryPolicy", "RetrySameUpstream", "TryNextUpstream"]


@dataclass(frozen=True, slots=True)
class RetrySameUpstream:
    delay: float
    """Seconds to wait before."""


@dataclass(frozen=True, slots=True)
class TryNextUpstream:
    pass


@dataclass(frozen=True, slots=True)
class GiveUp:
    pass


Decision = RetrySameUpstream | TryNextUpstream | GiveUp


class _Reaction(Enum):
    GIVE_UP = "give up"
    NEXT = "next"
    RETRY = "retry"


REACTIONS: dict[Fault, _Reaction] = {
    Fault.REQUEST: _Reaction.GIVE_UP,  # Every upstream would refuse it.
    Fault.ACCOUNT: _Reaction.NEXT,  # Waiting doesn't bring credit back.
    Fault.UNCLEAR: _Reaction.NEXT,  # Asked the same, it would say the same.
    Fault.RATE: _Reaction.RETRY,
    Fault.UPSTREAM: _Reaction.RETRY,
    Fault.TIMEOUT: _Reaction.NEXT,  # The client has waited a whole time-out for this one already.
    Fault.GARBAGE: _Reaction.NEXT,  # A complete answer may have been billed: never twice by the same upstream.
    Fault.TOO_LARGE: _Reaction.GIVE_UP,
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    attempts_per_upstream: int = 2
    max_attempts: int = 3
    """Over all upstreams."""
    max_seconds: float = 90.0
    """No attempt starts later than this after the first."""
    base_delay: float = 0.2
    max_delay: float = 2.0

    def decide(
        self, failure: UpstreamFailure, *, attempt: int, attempts: int, elapsed: float, jitter: float, last: bool
    ) -> Decision:
        """`attempt` counts from 1 on this upstream, `attempts` over all; `jitter` is drawn from [0, 1); `last` says
        that no other upstream is left. Only called while no byte has reached the client.
        """
        reaction = REACTIONS[failure.fault]
        if reaction is _Reaction.GIVE_UP or attempts >= self.max_attempts or elapsed >= self.max_seconds:
            return GiveUp()
        wait = max(self._backoff(attempt) * jitter, failure.retry_after or 0.0)
        if self._should_stay(failure, reaction, attempt=attempt, wait=wait, last=last):
            return RetrySameUpstream(delay=wait)
        return GiveUp() if last else TryNextUpstream()

    def _should_stay(
        self, failure: UpstreamFailure, reaction: _Reaction, *, attempt: int, wait: float, last: bool
    ) -> bool:
        if reaction is not _Reaction.RETRY or attempt >= self.attempts_per_upstream or wait > self.max_delay:
            return False
        return last or failure.fault is not Fault.RATE  # Another upstream answers now, this one after its pause.

    def _backoff(self, attempt: int) -> float:
        return float(min(self.max_delay, self.base_delay * 2 ** (attempt - 1)))
