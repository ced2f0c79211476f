"""The short form of `make chaos`: one storm, and one for each guard without which it must fail."""

import random
from itertools import islice
from pathlib import Path

import pytest

from tests.system.chaos import Kill, random_kills, run

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
    ("guard", "module", "kill"),
    [
        ("spool", "gateway", Kill(1.0, "valkey", 0.5)),
        ("estimate", "gateway", Kill(1.0, "gateway 0", 0.0)),
        ("sweeper", "metering", Kill(1.0, "gateway 0", 0.0)),
    ],
)
@pytest.mark.timeout(240)
def test_the_proof_fails_without_this_guard(guard: str, module: str, kill: Kill, server_directory: Path) -> None:
    wrap = {module: ["tests.system.unguarded", guard, module]}

    report = run(server_directory, seed=SEED, seconds=12.0, kills=[kill] * 3, wrap=wrap, rest_seconds=8.0)

    assert report.problems, report
