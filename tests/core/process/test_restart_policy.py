"""When a process that has died is started again."""

import pytest

from core.process.restart_policy import RestartPolicy, Restarts

POLICY = RestartPolicy(max_deaths=3, window_seconds=60, first_delay=0.5, max_delay=1.5)


@pytest.mark.parametrize(
    ("deaths", "delay"),
    [
        ([100], 0.5),
        ([99, 100], 1.0),
        ([98, 99, 100], 1.5),
        ([97, 98, 99, 100], None),
        ([10, 20, 30, 100], 0.5),
        ([10, 20, 99, 100], 1.0),
        ([40, 100], 0.5),
    ],
    ids=["first", "second", "longest delay", "too often", "long ago does not count", "mixed", "a window ago"],
)
def test_restarts_back_off_and_end(deaths: list[float], delay: float | None) -> None:
    restarts = Restarts(POLICY)

    assert [restarts.died(now) for now in deaths][-1] == delay


def test_without_a_limit_it_is_started_again_for_ever() -> None:
    restarts = Restarts(RestartPolicy(first_delay=0.2, max_delay=10.0))

    delays = [restarts.died(float(now)) for now in range(500)]

    assert delays[:3] == [0.2, 0.4, 0.8]
    assert set(delays[6:]) == {10.0}
    assert restarts.recent_deaths == 60
