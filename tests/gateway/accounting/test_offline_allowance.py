"""What is served on trust while Redis is away."""

from datetime import date

from core.principal import AccountId, KeyId, Principal
from gateway.accounting import offline_allowance as module
from gateway.accounting.offline_allowance import OfflineAllowance

ALICE = Principal(AccountId(1), KeyId(10))
ALICES_OTHER_KEY = Principal(AccountId(1), KeyId(11))
BOB = Principal(AccountId(2), KeyId(20))
PERIOD = date(2026, 11, 1)


def allowance(*known: Principal, limit: int = 100, memory: float = 60.0) -> OfflineAllowance:
    made = OfflineAllowance(limit=limit, memory=memory)
    for principal in known:
        made.remember(principal, PERIOD, 1000.0)
    return made


def test_a_stranger_is_not_trusted() -> None:
    assert not allowance().admit(ALICE, 1, 1000.0)


def test_a_known_key_is_trusted_up_to_the_limit_and_not_beyond() -> None:
    trust = allowance(ALICE)

    assert [trust.admit(ALICE, 30, 1001.0) for _ in range(5)] == [PERIOD] * 3 + [None] * 2
    assert trust.admit(ALICE, 10, 1001.0) == PERIOD


def test_the_keys_of_an_account_share_its_limit_and_accounts_do_not() -> None:
    trust = allowance(ALICE, ALICES_OTHER_KEY, BOB)
    trust.admit(ALICE, 90, 1001.0)

    assert not trust.admit(ALICES_OTHER_KEY, 11, 1001.0)
    assert trust.admit(BOB, 100, 1001.0)


def test_trust_wears_off() -> None:
    trust = allowance(ALICE)

    assert trust.admit(ALICE, 1, 1060.0)
    assert not trust.admit(ALICE, 1, 1060.1)


def test_a_key_that_redis_refused_is_not_trusted_until_it_is_admitted_again() -> None:
    trust = allowance(ALICE)

    trust.forget(ALICE)
    refused = trust.admit(ALICE, 1, 1001.0)
    trust.remember(ALICE, PERIOD, 1002.0)

    assert not refused
    assert trust.admit(ALICE, 1, 1003.0)


def test_the_real_cost_takes_the_place_of_the_bound() -> None:
    trust = allowance(ALICE)
    trust.admit(ALICE, 100, 1001.0)

    trust.correct(ALICE, 100, 40)

    assert trust.admit(ALICE, 60, 1002.0)
    assert not trust.admit(ALICE, 1, 1002.0)


def test_a_cost_above_the_bound_is_exposed_as_well() -> None:
    trust = allowance(ALICE)
    trust.admit(ALICE, 50, 1001.0)

    trust.correct(ALICE, 50, 120)

    assert not trust.admit(ALICE, 1, 1002.0)


def test_what_redis_counts_again_is_given_back_to_that_account_alone() -> None:
    """B20"""
    trust = allowance(ALICE, BOB)
    trust.admit(ALICE, 100, 1001.0)
    trust.admit(BOB, 100, 1001.0)

    trust.give_back(ALICE)
    trust.correct(ALICE, 100, 40)  # An answer of before: Redis has it.

    assert trust.admit(ALICE, 100, 1002.0)
    assert not trust.admit(ALICE, 1, 1002.0)
    assert not trust.admit(BOB, 1, 1002.0)


def test_the_longest_unseen_keys_are_forgotten_first() -> None:
    trust = allowance(ALICE, BOB)
    trust.remember(ALICE, PERIOD, 1001.0)

    for number in range(module.MAX_KEYS - 1):
        trust.remember(Principal(AccountId(9), KeyId(1000 + number)), PERIOD, 1002.0)

    assert trust.admit(ALICE, 1, 1003.0)
    assert not trust.admit(BOB, 1, 1003.0)
