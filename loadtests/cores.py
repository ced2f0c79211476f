"""Which processor cores a benchmark's processes run on: the proxy under test alone on one, everything else beside."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Cores", "all_cores", "on_cores"]


@dataclass(frozen=True, slots=True)
class Cores:
    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def divide(cls, available: frozenset[int]) -> "Cores":
        """One core for the proxy, the others for the rest; with one core alone everybody shares it."""
        first = frozenset({min(available)})
        return cls(first, available - first or first)

    def __str__(self) -> str:
        if self.proxy == self.rest:
            return "one core for everything"
        rest = ", ".join(str(core) for core in sorted(self.rest))
        return f"the proxy under test on core {min(self.proxy)}, everything else on {rest}"


def all_cores() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes started inside run on these cores, for they inherit it from us."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
