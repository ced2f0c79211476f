"""Ids of events: UUIDs of version 7, sorted by time."""

import os
from uuid import RFC_4122, UUID

import pytest

from core.usage.event_id import event_id


@pytest.mark.parametrize("random", [b"\0" * 10, b"\xff" * 10, bytes(range(10))])
@pytest.mark.parametrize("milliseconds", [0, 1, 1_763_634_000_000, 2**48 - 1])
def test_it_is_a_uuid_of_version_7(milliseconds: int, random: bytes) -> None:
    made = event_id(milliseconds, random)

    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == milliseconds


def test_it_is_the_same_as_the_uuid_of_its_text() -> None:
    made = event_id(1_763_634_000_000, os.urandom(10))

    assert made == UUID(str(made))
    assert hash(made) == hash(UUID(str(made)))
    assert len(str(made)) == 36


def test_later_ids_sort_after_earlier_ones_as_numbers_and_as_texts() -> None:
    ids = [event_id(milliseconds, os.urandom(10)) for milliseconds in range(1_763_634_000_000, 1_763_634_000_500)]

    assert ids == sorted(ids)
    assert [str(made) for made in ids] == sorted(str(made) for made in ids)


def test_ids_of_one_millisecond_differ_by_74_random_bits() -> None:
    assert len({event_id(7, os.urandom(10)) for _ in range(10_000)}) == 10_000
    assert event_id(7, b"\0" * 10) != event_id(7, b"\0" * 9 + b"\x01")
