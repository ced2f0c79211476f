import signal
import subprocess
import sys

import pytest

from core.process.failpoints import Failpoints

REACH = (
    "from core.process.failpoints import Failpoints; f = Failpoints({!r}); [f.reach(n) for n in ('a', 'b', 'a', 'a')]"
)


@pytest.mark.parametrize(
    ("specification", "dies"), [("a", True), ("a:3", True), ("b", True), ("", False), ("a:4", False), ("c", False)]
)
def test_a_process_dies_at_the_named_place_the_nth_time_it_is_reached(specification: str, dies: bool) -> None:
    ended = subprocess.run([sys.executable, "-c", REACH.format(specification)], timeout=30, check=False)

    assert ended.returncode == (-signal.SIGKILL if dies else 0)


@pytest.mark.parametrize("specification", ["a:0", "a:-1", "a:soon"])
def test_a_specification_that_could_never_happen_is_refused(specification: str) -> None:
    with pytest.raises(ValueError):
        Failpoints(specification)
