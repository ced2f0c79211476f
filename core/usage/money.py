"""
Money as whole nano-dollars: the price of a single cheap token is still a whole number, so nothing is ever rounded.
"""

from decimal import Decimal, InvalidOperation
from typing import NewType

__all__ = ["NANO_PER_USD", "NanoUsd", "format_usd", "parse_usd"]

NanoUsd = NewType("NanoUsd", int)

NANO_PER_USD = 1_000_000_000

LARGEST_USD = Decimal(9_000_000)
"""Redis scripts count in doubles, which are exact up to 2**53 nano-dollars: a little above nine million dollars."""


def parse_usd(text: str) -> NanoUsd:
    """`"12.50"` becomes 12_500_000_000. Raises ValueError for anything that is not an exact, sane amount."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in US dollars") from None
    if not amount.is_finite() or amount < 0 or amount > LARGEST_USD:
        raise ValueError(f"{text!r} is not between 0 and {LARGEST_USD} US dollars")
    nano = amount * NANO_PER_USD
    if nano != int(nano):
        raise ValueError(f"{text!r} is finer than a nano-dollar")
    return NanoUsd(int(nano))


def format_usd(amount: int) -> str:
    """Two decimals at least, more only where the amount has them: `$12.50`, `$0.000135`, `-$1.00`."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, nano = divmod(amount, NANO_PER_USD)
    decimals = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{decimals}"
