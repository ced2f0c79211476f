import pytest

from core.accounts.plans import PLANS
from core.usage.money import NANO_PER_USD


@pytest.mark.parametrize(
    ("name", "price", "tokens", "overage_input", "overage_output"),
    [("basic", 50, 5_000_000, 3.00, 15.00), ("pro", 250, 30_000_000, 2.50, 12.00)],
)
def test_the_plans_are_those_of_the_product(
    name: str, price: int, tokens: int, overage_input: float, overage_output: float
) -> None:
    plan = PLANS[name]

    assert plan.price == price * NANO_PER_USD
    assert plan.included_tokens == tokens
    assert plan.overage_input == overage_input * NANO_PER_USD
    assert plan.overage_output == overage_output * NANO_PER_USD


def test_a_plan_is_found_under_its_own_name() -> None:
    assert {name: plan.name for name, plan in PLANS.items()} == {name: name for name in PLANS}


def test_money_of_a_plan_is_whole_nano_dollars() -> None:
    amounts = [(plan.price, plan.overage_input, plan.overage_output) for plan in PLANS.values()]

    assert all(type(amount) is int for row in amounts for amount in row)


def test_the_larger_plan_is_nowhere_smaller() -> None:
    basic, pro = PLANS["basic"], PLANS["pro"]

    assert pro.requests_per_minute > basic.requests_per_minute
    assert pro.tokens_per_minute > basic.tokens_per_minute
    assert pro.concurrent_requests > basic.concurrent_requests
