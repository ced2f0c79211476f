"""C9: a provider's rate limit pauses whom it has refused; others find out one at a time whether it is about them."""

from gateway.upstreams.rate_pause import MAX_ACCOUNTS, NO_PAUSE, RatePause

NOW = 1000.0
A, B, C = 1, 2, 3
PAUSED = NO_PAUSE.refused(A, wait=12.0, now=NOW, probe=False)


def test_without_a_pause_everybody_is_let_through() -> None:
    assert NO_PAUSE.admits(A, NOW)
    assert not NO_PAUSE.is_probe(NOW)


def test_the_account_that_was_refused_waits_until_the_pause_is_over() -> None:
    assert not PAUSED.admits(A, NOW + 11.9)
    assert PAUSED.admits(A, NOW + 12)


def test_another_account_may_probe_one_request_at_a_time() -> None:
    assert PAUSED.admits(B, NOW)
    assert PAUSED.is_probe(NOW)
    assert not PAUSED.probed().admits(C, NOW)


def test_an_answer_to_the_probe_ends_the_pause_for_all() -> None:
    assert PAUSED.probed().ended(answered=True).admits(A, NOW)


def test_a_probe_without_an_answer_leaves_the_next_one_to_another() -> None:
    assert PAUSED.probed().ended(answered=False) == PAUSED


def test_a_refused_probe_waits_as_well() -> None:
    pause = PAUSED.probed().refused(B, wait=3.0, now=NOW + 1, probe=True)

    assert (pause.until, pause.accounts, pause.probing) == (NOW + 12, frozenset((A, B)), False)
    assert pause.admits(C, NOW + 1)


def test_a_request_that_began_before_does_not_end_the_probe() -> None:
    assert PAUSED.probed().refused(B, wait=3.0, now=NOW, probe=False).probing


def test_a_new_pause_forgets_whom_the_last_one_refused() -> None:
    assert PAUSED.refused(B, wait=5.0, now=NOW + 60, probe=False) == RatePause(NOW + 65, frozenset((B,)))


def test_probing_has_an_end() -> None:
    pause = PAUSED
    for account in range(MAX_ACCOUNTS):
        pause = pause.refused(account, wait=1.0, now=NOW, probe=True)

    assert not pause.admits(MAX_ACCOUNTS + 1, NOW)
