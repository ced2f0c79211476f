"""What is charged when an upstream's report can't be true (S16 = E2, F23, F54): one wrong number empties no cap."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.usage.token_usage import TokenUsage
from gateway.accounting.charge import Charge, is_contradiction
from gateway.dialects.openai.usage import read_usage

BOUNDS = {"likely_input": 20, "max_input": 1_000, "max_output": 100}
COUNTS = some.integers(0, 10**7)
USAGES = some.builds(TokenUsage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
FLAWS = some.sampled_from([None, "output_missing", "client_gone"])
ALL_BOUNDS = some.fixed_dictionaries(
    {
        "likely_input": some.integers(0, 10**5),
        "max_input": some.integers(1, 10**6),
        "max_output": some.integers(1, 10**5),
    }
)
NUMBERS = some.one_of(some.none(), some.integers(-(10**30), 10**30), some.floats(), some.sampled_from([True, "7", []]))
REPORTS = some.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": NUMBERS,
        "completion_tokens": NUMBERS,
        "total_tokens": NUMBERS,
        "prompt_cache_hit_tokens": NUMBERS,
        "prompt_tokens_details": some.fixed_dictionaries({}, optional={"cached_tokens": NUMBERS}),
        "completion_tokens_details": some.fixed_dictionaries({}, optional={"reasoning_tokens": NUMBERS}),
    },
)


def test_a_report_that_the_request_explains_is_charged_as_it_is() -> None:
    reported = TokenUsage(600, 200, 100, 100, 60, 40)

    assert Charge.of(reported, None, 0, **BOUNDS) == Charge(reported, "")


def test_f5_zeros_that_were_reported_are_values() -> None:
    assert Charge.of(TokenUsage(), None, 50, **BOUNDS) == Charge(TokenUsage(), "")


def test_nothing_reported_is_our_own_count_within_the_grant() -> None:
    assert Charge.of(None, None, 7, **BOUNDS) == Charge(TokenUsage(input=20, output=7), "no_usage_reported")
    assert Charge.of(None, "cut", 700, **BOUNDS) == Charge(TokenUsage(input=20, output=100), "cut")


@pytest.mark.parametrize(
    ("output", "reasoning", "charged"),
    [(101, 0, (100, 0)), (60, 41, (60, 40)), (0, 10**7, (0, 100)), (500, 9, (100, 0))],
)
def test_e2_output_beyond_the_grant_counts_as_the_grant(output: int, reasoning: int, charged: tuple[int, int]) -> None:
    charge = Charge.of(TokenUsage(input=10, output=output, reasoning=reasoning), None, 0, **BOUNDS)

    assert charge == Charge(TokenUsage(input=10, output=charged[0], reasoning=charged[1]), "output_exceeds_grant")


@pytest.mark.parametrize("reported", [TokenUsage(input=1_001), TokenUsage(input=1, cache_read=900_000)])
def test_e2_more_input_than_the_request_can_hold_is_replaced_by_our_estimate(reported: TokenUsage) -> None:
    assert Charge.of(reported, None, 0, **BOUNDS) == Charge(TokenUsage(input=20), "input_exceeds_request")


def test_a_missing_input_is_estimated_and_a_placeholder_of_output_grows_to_what_was_delivered() -> None:
    charge = Charge.of(TokenUsage(output=1, reasoning=5), "input_missing", 12, **BOUNDS)

    assert charge == Charge(TokenUsage(input=20, output=7, reasoning=5), "input_missing")


@given(USAGES, FLAWS, COUNTS, ALL_BOUNDS)
def test_no_charge_exceeds_what_the_request_holds_and_what_it_was_granted(
    reported: TokenUsage, flaw: str | None, delivered: int, bounds: dict[str, int]
) -> None:
    charge = Charge.of(reported, flaw, delivered, **bounds)

    assert min(charge.usage.as_tuple()) >= 0
    assert charge.usage.completion <= bounds["max_output"]
    assert charge.usage.prompt <= max(bounds["max_input"], bounds["likely_input"])
    assert charge.usage == reported or charge.estimated


@given(REPORTS, some.booleans())
def test_whatever_a_report_holds_it_is_read_as_counts_and_what_was_changed_is_marked(
    report: dict[str, Any], includes_cache: bool
) -> None:
    usage, flaw = read_usage(report, input_includes_cache=includes_cache)

    if usage is None:
        assert report.get("prompt_tokens") is None
        assert report.get("completion_tokens") is None
        return
    assert min(usage.as_tuple()) >= 0
    if flaw is None and includes_cache:
        assert usage.prompt == report["prompt_tokens"]
        told = {report["completion_tokens"], (report.get("total_tokens") or 0) - usage.prompt}
        assert usage.completion in told  # Reasoning that is counted beside the completion shows in the total.


@pytest.mark.parametrize(
    ("mark", "contradicts"),
    [
        ("", False),
        ("no_usage_reported", False),
        ("output_missing", False),
        ("client_gone", False),
        ("prompt_tokens_huge", True),
        ("cached_tokens_exceeds_whole", True),
        ("output_exceeds_grant", True),
        ("input_exceeds_request", True),
        ("completion_tokens_invalid", True),
        ("service_tier_unpriced", True),
    ],
)
def test_a_report_that_says_something_wrong_is_told_from_one_that_says_too_little(mark: str, contradicts: bool) -> None:
    assert is_contradiction(mark) is contradicts
