"""When a process that has died is started again. Pure: the clock is an argument."""

from collections import deque
from dataclasses import dataclass

__all__ = ["RestartPolicy", "Restarts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """The first restart within `window_seconds` waits for `first_delay` seconds, each one after it twice as long, up to
    `max_delay`. After more than `max_deaths` within the window nothing is started any more; None: never give up."""

    first_delay: float = 0.5
    max_delay: float = 8.0
    window_seconds: float = 60.0
    max_deaths: int | None = None


class Restarts:
    """The deaths of one process."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths: deque[float] = deque()

    def died(self, now: float) -> float | None:
        """Seconds until it is started again; None to give up."""
        policy, deaths = self._policy, self._deaths
        deaths.append(now)
        while deaths[0] <= now - policy.window_seconds:
            deaths.popleft()
        if policy.max_deaths is not None and len(deaths) > policy.max_deaths:
            return None
        return min(policy.max_delay, policy.first_delay * 2.0 ** (len(deaths) - 1))

    @property
    def recent_deaths(self) -> int:
        return len(self._deaths)
