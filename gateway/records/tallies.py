"""
Counts of the hot path, as plain numbers. Prometheus' own take a lock at each step, and write to a file where there are
several workers; these are handed over a few times a second and before each scrape.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

__all__ = ["CountTally", "HistogramTally", "Tallies"]


class Tallies:
    """Those that have counted something since the last `flush`. Belongs to one thread."""

    def __init__(self) -> None:
        self.dirty: list[CountTally | HistogramTally] = []

    def flush(self) -> None:
        dirty, self.dirty = self.dirty, []
        for tally in dirty:
            tally.flush()


class Counter(Protocol):
    def inc(self, amount: float = 1) -> None: ...


class CountTally:
    __slots__ = ("_counter", "_pending", "_tallies")

    def __init__(self, tallies: Tallies, counter: Counter) -> None:
        self._tallies = tallies
        self._counter = counter
        self._pending = 0

    def inc(self, amount: int = 1) -> None:
        if not self._pending:
            self._tallies.dirty.append(self)
        self._pending += amount

    def flush(self) -> None:
        pending, self._pending = self._pending, 0
        self._counter.inc(pending)


class Histogram(Protocol):
    def add(self, counts: Sequence[int], total: float) -> None:
        """`counts[i]` observations more in bucket i, the last one being that of infinity; `total` is their sum."""


class HistogramTally:
    __slots__ = ("_bounds", "_counts", "_histogram", "_seen", "_tallies", "_total")

    def __init__(self, tallies: Tallies, histogram: Histogram, bounds: Sequence[float]) -> None:
        """`bounds` of the buckets, ascending, without infinity."""
        self._tallies = tallies
        self._histogram = histogram
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._seen = False

    def observe(self, amount: float) -> None:
        if not self._seen:
            self._seen = True
            self._tallies.dirty.append(self)
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._total += amount

    def flush(self) -> None:
        counts, total = self._counts, self._total
        self._counts, self._total, self._seen = [0] * len(counts), 0.0, False
        self._histogram.add(counts, total)
