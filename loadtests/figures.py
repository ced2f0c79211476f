"""The figures that a benchmark is after, and the bars they have to reach (issue "bench", "Figures to reach")."""

from dataclasses import dataclass

__all__ = ["BARS", "Bar", "Figure"]


@dataclass(frozen=True, slots=True)
class Bar:
    limit: float
    at_least: bool = False
    """Otherwise: at most."""

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:,g}"


BARS = {
    "non-streaming: CPU per request": Bar(90.0),
    "non-streaming: CPU beside nginx": Bar(6.5),
    "streaming: CPU per chunk": Bar(20.0),
    "streaming: CPU beside nginx": Bar(1.7),
    "added latency p50": Bar(0.5),
    "added latency p99": Bar(3.0),
    "added chunk delay p99": Bar(5.0),
    "memory per stream, 1,000 open": Bar(40.0),
    "memory per stream, 10,000 open": Bar(40.0),
    "two workers beside one": Bar(1.8, at_least=True),
    "ledger: events per core": Bar(30_000.0, at_least=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None
    """The smallest and the largest of the rounds whose median `value` is."""
    note: str = ""
    not_judged: str = ""
    """Why this machine can't tell whether the bar is reached."""

    @property
    def bar(self) -> Bar | None:
        return BARS.get(self.name)

    @property
    def reached(self) -> bool | None:
        """None where there is nothing to reach or nothing to tell."""
        bar = self.bar
        return None if bar is None or self.not_judged else bar.reached(self.value)
