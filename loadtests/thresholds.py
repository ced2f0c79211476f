"""What a load test must see to count as passed. Pure."""

from dataclasses import dataclass

__all__ = ["Seen", "Thresholds"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a load test has seen; times in milliseconds, None where nothing was measured."""

    requests: int
    failures: int
    p95_ms: float | None
    """Of whole answers."""
    first_token_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    most_failed: float
    """Share of the requests, 0.01 for one in a hundred."""
    p95_ms: float
    first_token_p95_ms: float

    def problems(self, seen: Seen) -> list[str]:
        """One sentence for each threshold that was missed; empty when the test has passed."""
        if not seen.requests:
            return ["no request was answered"]
        found = []
        failed = seen.failures / seen.requests
        if failed > self.most_failed:
            found.append(f"{failed:.1%} of the requests failed; at most {self.most_failed:.1%} may")
        limits = (
            ("answers", seen.p95_ms, self.p95_ms),
            ("first tokens", seen.first_token_p95_ms, self.first_token_p95_ms),
        )
        for what, measured, limit in limits:
            if measured is None:
                found.append(f"no {what} were measured")
            elif measured > limit:
                found.append(f"the p95 of {what} is {measured:,.0f} ms; the limit is {limit:,.0f} ms")
        return found
