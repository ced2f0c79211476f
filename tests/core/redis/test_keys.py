import re
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.principal import AccountId, KeyId
from core.redis.keys import ShardKeys, key_digest, shards

EVENT = UUID("01890000-0000-7000-8000-000000000001")


@pytest.mark.parametrize("shard_count", [1, 2, 16, 100, 1024])
@pytest.mark.parametrize("first", [1, 2**40])
def test_consecutive_accounts_spread_evenly(shard_count: int, first: int) -> None:
    accounts = range(first, first + 100 * shard_count)

    loads = Counter(ShardKeys.of(AccountId(account), shard_count) for account in accounts)

    assert len(loads) == shard_count
    assert max(loads.values()) <= 200
    assert min(loads.values()) >= 50


@given(st.integers(1, 2**63 - 1), st.integers(1, 1024))
def test_an_account_lies_in_one_of_the_shards(account: int, shard_count: int) -> None:
    assert ShardKeys.of(AccountId(account), shard_count) in shards(shard_count)


@pytest.mark.parametrize("shard", [*shards(3), ShardKeys.of(AccountId(7), 1024)])
def test_every_key_of_a_shard_carries_its_tag_and_no_other(shard: ShardKeys) -> None:
    keys = [
        shard.usage_stream,
        shard.leases,
        shard.account(AccountId(1)),
        shard.key(KeyId(1)),
        shard.reservation(EVENT),
    ]

    assert {re.findall(r"\{(.*?)\}", key)[0] for key in keys} == {shard.tag.strip("{}")}
    assert len(set(keys)) == len(keys)


def test_a_shard_is_known_by_its_stream() -> None:
    assert [ShardKeys.of_stream(shard.usage_stream) for shard in shards(20)] == shards(20)


def test_a_reservation_is_found_by_what_reservations_begin_with() -> None:
    [shard] = shards(1)

    assert shard.reservation(EVENT) == shard.reservations + str(EVENT)


def test_shards_have_different_names() -> None:
    assert len({shard.tag for shard in shards(1024)}) == 1024


def test_a_digest_belongs_to_no_shard() -> None:
    assert key_digest(b"\x01\xff") == "key:01ff"
