from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.usage.money import LARGEST_USD, NANO_PER_USD, format_usd, parse_usd

AMOUNTS = st.integers(0, int(LARGEST_USD) * NANO_PER_USD)


@given(AMOUNTS)
def test_what_is_formatted_reads_back_as_the_same_amount(amount: int) -> None:
    shown = format_usd(amount)

    assert parse_usd(shown.removeprefix("$").replace(",", "")) == amount


@given(AMOUNTS)
def test_an_amount_is_exact_to_the_nano_dollar(amount: int) -> None:
    assert parse_usd(str(Decimal(amount) / NANO_PER_USD)) == amount


@given(st.integers(1, 10**15))
def test_a_debt_is_shown_as_the_amount_with_a_sign(amount: int) -> None:
    assert format_usd(-amount) == "-" + format_usd(amount)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("12.50", 12_500_000_000),
        ("0", 0),
        ("0.000000001", 1),
        ("9000000", 9_000_000 * NANO_PER_USD),
        ("1e3", 1_000 * NANO_PER_USD),
    ],
)
def test_amounts_are_read_exactly(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text", ["", "$5", "a", "-1", "-0.01", "9000000.01", "1e99999999", "0.0000000001", "NaN", "sNaN", "Infinity", "1,5"]
)
def test_anything_else_is_refused_with_the_text_that_was_given(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|is finer") as caught:
        parse_usd(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "$0.00"),
        (12_500_000_000, "$12.50"),
        (135_000, "$0.000135"),
        (-NANO_PER_USD, "-$1.00"),
        (1_234_567 * NANO_PER_USD, "$1,234,567.00"),
        (1, "$0.000000001"),
    ],
)
def test_an_amount_is_shown_with_as_many_decimals_as_it_has(nano: int, shown: str) -> None:
    assert format_usd(nano) == shown


def test_the_largest_amount_is_still_exact_in_a_double() -> None:
    assert int(LARGEST_USD) * NANO_PER_USD < 2**53
