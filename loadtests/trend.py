"""How a measurement grows with time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Point", "slope_per_hour"]


@dataclass(frozen=True, slots=True)
class Point:
    seconds: float
    value: float


def slope_per_hour(points: Sequence[Point]) -> float:
    """Of the line with the least squares through the points; 0 for fewer than two, or all at one time."""
    count = len(points)
    if count < 2:
        return 0.0
    middle = sum(point.seconds for point in points) / count
    mean = sum(point.value for point in points) / count
    spread = sum((point.seconds - middle) ** 2 for point in points)
    if spread == 0:
        return 0.0
    return sum((point.seconds - middle) * (point.value - mean) for point in points) / spread * 3600
