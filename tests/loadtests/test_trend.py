import pytest

from loadtests.trend import Point, slope_per_hour


@pytest.mark.parametrize(
    ("values", "slope"),
    [
        ([], 0.0),
        ([(0, 5)], 0.0),
        ([(7, 5), (7, 9)], 0.0),
        ([(0, 100), (3600, 100)], 0.0),
        ([(0, 100), (1800, 101), (3600, 102)], 2.0),
        ([(0, 102), (1800, 101), (3600, 100)], -2.0),
        ([(0, 10), (1200, 12), (2400, 10), (3600, 12)], 1.2),
    ],
)
def test_the_slope_is_that_of_the_line_with_the_least_squares(values: list[tuple[float, float]], slope: float) -> None:
    assert slope_per_hour([Point(*pair) for pair in values]) == pytest.approx(slope)
