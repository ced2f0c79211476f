import pytest

from loadtests.thresholds import Seen, Thresholds

THRESHOLDS = Thresholds(most_failed=0.01, p95_ms=500, first_token_p95_ms=200)


@pytest.mark.parametrize(
    ("seen", "problems"),
    [
        (Seen(100, 0, 400, 100), []),
        (Seen(100, 1, 500, 200), []),
        (Seen(100, 2, 400, 100), ["2.0% of the requests failed; at most 1.0% may"]),
        (Seen(100, 0, 1_501, 100), ["the p95 of answers is 1,501 ms; the limit is 500 ms"]),
        (Seen(100, 0, 400, 201), ["the p95 of first tokens is 201 ms; the limit is 200 ms"]),
        (Seen(100, 0, 400, None), ["no first tokens were measured"]),
        (Seen(0, 0, None, None), ["no request was answered"]),
    ],
)
def test_what_was_seen_is_held_against_each_threshold(seen: Seen, problems: list[str]) -> None:
    assert THRESHOLDS.problems(seen) == problems


def test_every_missed_threshold_is_named() -> None:
    problems = THRESHOLDS.problems(Seen(10, 10, 1_000, 1_000))

    assert len(problems) == 3
