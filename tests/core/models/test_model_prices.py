import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.models.model_prices import DEFAULT_WEIGHTS, PriceList, TokenPrices, TokenWeights
from core.usage.token_usage import CLASSES, TokenUsage

COUNTS = st.tuples(*[st.integers(0, 10**7)] * len(CLASSES))
PRICES = st.tuples(*[st.integers(0, 10**9)] * len(CLASSES))


@pytest.mark.parametrize("token_class", CLASSES)
@pytest.mark.parametrize("price", [0, 1, 75, 999_999_999])
def test_ten_thousand_calls_of_one_token_cost_ten_thousand_times_the_token(token_class: str, price: int) -> None:
    prices = TokenPrices(**{name: price if name == token_class else 7 for name in CLASSES})

    total = sum(prices.cost(TokenUsage(**{token_class: 1})) for _ in range(10_000))

    assert total == 10_000 * price


@given(PRICES, COUNTS)
def test_a_cost_is_the_sum_over_the_classes(prices: tuple[int, ...], counts: tuple[int, ...]) -> None:
    cost = TokenPrices(*prices).cost(TokenUsage(*counts))

    assert cost == sum(price * count for price, count in zip(prices, counts, strict=True))


@given(PRICES, COUNTS, COUNTS)
def test_two_answers_cost_what_one_answer_of_both_costs(
    prices: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    table = TokenPrices(*prices)
    both = TokenUsage(*(one + other for one, other in zip(first, second, strict=True)))

    assert table.cost(TokenUsage(*first)) + table.cost(TokenUsage(*second)) == table.cost(both)


@given(PRICES, COUNTS)
def test_the_dearest_prices_bound_every_split_of_the_tokens(prices: tuple[int, ...], counts: tuple[int, ...]) -> None:
    table, usage = TokenPrices(*prices), TokenUsage(*counts)

    bound = usage.prompt * table.highest_input_price + usage.completion * table.highest_output_price

    assert table.cost(usage) <= bound


def test_the_default_weights_are_those_of_the_product() -> None:
    assert DEFAULT_WEIGHTS.scaled(1000) == (1000, 100, 1250, 2000, 1000, 1000)


@pytest.mark.parametrize(("weight", "scaled"), [(0, (0,) * 6), (500, (500, 50, 625, 1000, 500, 500))])
def test_a_models_weight_scales_every_class(weight: int, scaled: tuple[int, ...]) -> None:
    assert TokenWeights().scaled(weight) == scaled


USUAL, FLEX, PRIORITY = TokenPrices(*[10] * 6), TokenPrices(*[5] * 6), TokenPrices(20, 1, 20, 20, 20, 20)
LONG = TokenPrices(*[30] * 6)
PRICE_LIST = PriceList(USUAL, {"flex": FLEX, "priority": PRIORITY}, LONG, long_input_tokens=100)


@pytest.mark.parametrize(
    ("served", "asked", "cost"),
    [
        ("", "", 100),
        ("default", "priority", 100),  # The provider had no room in the tier.
        ("flex", "flex", 50),
        ("priority", "priority", 200),
        ("priority", "", 200),
        ("brand_new", "", 100),
        ("", "flex", 100),  # It does not say: the higher of the two.
        ("", "priority", 200),
    ],
)
def test_e5_the_tier_that_was_served_is_charged(served: str, asked: str, cost: int) -> None:
    assert PRICE_LIST.cost(TokenUsage(input=10), served, asked) == cost


@pytest.mark.parametrize(("usage", "cost"), [(TokenUsage(100, output=1), 1_010), (TokenUsage(1, 100), 3_030)])
def test_e7_a_long_input_has_its_own_prices_whatever_was_cached(usage: TokenUsage, cost: int) -> None:
    assert PRICE_LIST.cost(usage) == cost


def test_what_a_tier_costs_is_known_or_not() -> None:
    known = ["", "auto", "default", "standard_only", "scale", "flex", "priority"]

    assert all(PRICE_LIST.knows(tier) for tier in known)
    assert not PRICE_LIST.knows("fast")


@given(PRICES, PRICES, PRICES, COUNTS, st.sampled_from(["", "flex"]), st.sampled_from(["", "default", "flex"]))
def test_the_bound_holds_whatever_tier_is_served(
    usual: tuple[int, ...],
    flex: tuple[int, ...],
    long_input: tuple[int, ...],
    counts: tuple[int, ...],
    asked: str,
    served: str,
) -> None:
    prices = PriceList(TokenPrices(*usual), {"flex": TokenPrices(*flex)}, TokenPrices(*long_input), 1_000)
    usage = TokenUsage(*counts)
    served = served if asked else "default"

    bound = prices.bound(usage.prompt, asked)

    maximum = usage.prompt * bound.highest_input_price + usage.completion * bound.highest_output_price
    assert prices.cost(usage, served, asked) <= maximum
