import pytest

from tests.fuzz import fuzz_response_parser


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_to_a_response_is_more_than_an_error(seed: int) -> None:
    tried = fuzz_response_parser.run(seconds=20, seed=seed, most=1500)

    assert tried == 1500


@pytest.mark.parametrize("data", [b"", b"\0", b"\r\n", b"H", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 5000])
def test_the_odd_ones_out(data: bytes) -> None:
    fuzz_response_parser.fuzz_one(data)
