import pytest

from metering.repair.suspects import Suspects


def test_what_expired_is_ended_at_a_later_look_and_no_earlier() -> None:
    suspects = Suspects(25.0)

    ended = [suspects.look([(b"a", 1.0)], now) for now in (100.0, 110.0, 124.9, 125.0)]

    assert ended == [[], [], [], [b"a"]]


def test_a_prolonged_lease_is_watched_anew() -> None:
    suspects = Suspects(25.0)

    ended = [suspects.look([(b"a", deadline)], now) for now, deadline in [(0.0, 1.0), (20.0, 2.0), (40.0, 2.0)]]

    assert ended == [[], [], []]
    assert suspects.look([(b"a", 2.0)], 45.0) == [b"a"]


def test_a_lease_that_was_gone_for_a_look_is_watched_anew() -> None:
    suspects = Suspects(25.0)
    suspects.look([(b"a", 1.0)], 0.0)
    suspects.look([], 20.0)

    assert suspects.look([(b"a", 1.0)], 40.0) == []


@pytest.mark.parametrize("confirm_seconds", [0.0, 25.0])
def test_the_first_look_ends_something_only_if_there_is_nothing_to_wait_for(confirm_seconds: float) -> None:
    assert Suspects(confirm_seconds).look([(b"a", 1.0)], 50.0) == ([b"a"] if not confirm_seconds else [])


def test_it_remembers_no_more_than_the_last_look() -> None:
    suspects = Suspects(25.0)
    for number in range(100):
        suspects.look([(b"%d" % number, 1.0)], 0.0)

    assert len(suspects._seen) == 1
