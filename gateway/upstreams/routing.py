"""In which order the targets of a model are tried. Pure: randomness is an argument."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

__all__ = ["order_of_targets"]


class Weighted(Protocol):
    """A target, or what asks it."""

    @property
    def priority(self) -> int: ...

    @property
    def weight(self) -> int: ...


Item = TypeVar("Item", bound=Weighted)


def order_of_targets(targets: Sequence[Item], random_unit: Callable[[], float]) -> list[Item]:
    """Lower `priority` first; among equals a draw by `weight`, without putting any back. `random_unit` draws from
    [0, 1)."""
    if len(targets) == 1:
        return list(targets)
    # The k-th smallest of -log(u)/weight would do as well; the exponent form needs no logarithm.
    return sorted(targets, key=lambda target: (target.priority, -(random_unit() ** (1.0 / target.weight))))
