import pytest

from core.process.settings import load
from metering.settings import MeteringSettings, shard_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [0, 1, 2, 3]),
        ("2", [2]),
        ("0-1", [0, 1]),
        ("3,0-1", [0, 1, 3]),
        ("1,1,0-1", [0, 1]),
        (" 0 , 2-3 ", [0, 2, 3]),
    ],
)
def test_the_shards_of_a_process(text: str, numbers: list[int]) -> None:
    assert shard_numbers(text, 4) == numbers


@pytest.mark.parametrize("text", ["4", "0-4", "a", "1-", "-1", "3-1", ",", "0-99999999999", "0,3-1"])
def test_shards_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        shard_numbers(text, 4)


def test_two_addresses_are_enough_to_start() -> None:
    settings = load(MeteringSettings, {"DATABASE_URL": "postgresql://x:secret@y/z", "REDIS_URL": "redis://x"})

    assert settings.redis_shards == 16
    assert "secret" not in repr(settings)
