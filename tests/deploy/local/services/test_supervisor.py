import pytest

from deploy.local.services.supervisor import RestartPolicy

POLICY = RestartPolicy(most=3, window_seconds=60, first_delay=0.5, longest_delay=1.5)


@pytest.mark.parametrize(
    ("deaths", "now", "delay"),
    [
        ([100], 100, 0.5),
        ([99, 100], 100, 1.0),
        ([98, 99, 100], 100, 1.5),
        ([97, 98, 99, 100], 100, None),
        ([10, 20, 30, 100], 100, 0.5),
        ([10, 20, 99, 100], 100, 1.0),
    ],
    ids=["first", "second", "longest delay", "too often", "long ago does not count", "mixed"],
)
def test_restarts_back_off_and_end(deaths: list[float], now: float, delay: float | None) -> None:
    assert POLICY.delay(deaths, now) == delay
