"""The short form of `make chaos`: one storm, and one for each guard without which it must fail."""

import random
from itertools import islice
from pathlib import Path

import pytest

from tests.system.chaos import Disturbance, Kill, Trouble, random_kills, run
from tests.system.disturbances import every_disturbance

STORM_SECONDS = 20.0
SEED = 20261120


@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_counted_twice_whatever_is_killed(server_directory: Path) -> None:
    each = [
        Kill(0.5, "gateway 0", 0.1),
        Kill(0.5, "valkey", 0.5),
        Kill(0.5, "metering 0", 0.1),
        Kill(0.5, "postgres", 0.5),
    ]

    report = run(
        server_directory, seed=SEED, seconds=STORM_SECONDS, kills=[*each, *islice(random_kills(random.Random(SEED)), 6)]
    )

    assert report.problems == [], report
    assert report.kills >= len(each)
    assert len(report.seen.complete) > 50


@pytest.mark.timeout(240)
def test_a_process_may_die_at_each_of_its_edges(server_directory: Path) -> None:
    places = ["after_admission:3", "after_dispatch:3", "mid_stream:9", "before_settlement:3", "after_settlement:3"]
    kills = [Kill(0.2, f"gateway 0@{place}", 0.0) for place in places]
    kills += [Kill(0.2, f"metering 0@{place}", 0.0) for place in ("after_read", "after_commit_before_confirm")]

    report = run(server_directory, seed=SEED, seconds=90.0, kills=kills)

    assert report.problems == [], report
    assert report.kills == len(kills)


@pytest.mark.parametrize(
    "names",
    [
        ("valkey refuses", "valkey read-only", "ledger closed"),
        ("valkey older", "valkey disk", "valkey clock"),
        ("gateway 1 mute", "gateway 0 frozen", "gateway 1 cut off"),
    ],
)
@pytest.mark.timeout(240)
def test_what_happens_beside_death_loses_and_doubles_nothing(names: tuple[str, ...], server_directory: Path) -> None:
    """S2, S3, S4, S5, S8, B13."""
    if not set(names) <= set(every_disturbance()):
        pytest.skip("there is no C compiler to make a machine's clock step and its disk stall")

    troubles = [Disturbance(1.5, name) for name in names]
    report = run(server_directory, seed=SEED, seconds=60.0, kills=troubles)

    assert report.problems == [], report
    assert len(report.seen.complete) > 50


@pytest.mark.parametrize(
    ("guard", "module", "trouble"),
    [
        ("spool", "gateway", Kill(1.0, "valkey", 0.5)),
        ("estimate", "gateway", Kill(1.0, "gateway 0", 0.0)),
        ("sweeper", "metering", Kill(1.0, "gateway 0", 0.0)),
        ("recent endings", "gateway", Disturbance(1.0, "valkey older")),
        ("replacement", "metering", Disturbance(1.0, "gateway 0 frozen")),
    ],
)
@pytest.mark.timeout(240)
def test_the_proof_fails_without_this_guard(guard: str, module: str, trouble: Trouble, server_directory: Path) -> None:
    wrap = {module: ["tests.system.unguarded", guard, module]}

    report = run(server_directory, seed=SEED, seconds=12.0, kills=[trouble] * 3, wrap=wrap, rest_seconds=8.0)

    assert report.problems, report
