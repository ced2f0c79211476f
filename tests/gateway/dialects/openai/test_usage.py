from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.usage.token_usage import TokenUsage
from gateway.dialects.openai.usage import MAX_TOKENS, read_usage


def usage(prompt: Any, completion: Any, total: Any = None, **details: Any) -> dict[str, Any]:
    prompt_details = {name: value for name, value in details.items() if name.startswith("cache")}
    completion_details = {name: value for name, value in details.items() if not name.startswith("cache")}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": prompt_details or None,
        "completion_tokens_details": completion_details or None,
    }


@pytest.mark.parametrize("absent", [None, "usage", 7, [], {}, {"total_tokens": 120}, {"tokens": 3}, usage(None, None)])
def test_f5_no_report_is_none(absent: object) -> None:
    assert read_usage(absent) == (None, None)


@pytest.mark.parametrize(
    ("reported", "tokens"),
    [
        (usage(0, 0), TokenUsage()),
        (usage(10, 5), TokenUsage(input=10, output=5)),
        (usage(10, 0), TokenUsage(input=10)),
        (usage(10.0, 5.0), TokenUsage(input=10, output=5)),
        (usage(10, 5, 15), TokenUsage(input=10, output=5)),
        (usage(10, 5, cached_tokens=4), TokenUsage(input=6, cache_read=4, output=5)),
        (
            usage(10, 5, cached_tokens=4, cache_write_tokens=3),
            TokenUsage(input=3, cache_read=4, cache_write_5m=3, output=5),
        ),
        (usage(10, 5, 15, reasoning_tokens=2), TokenUsage(input=10, output=3, reasoning=2)),
        (usage(10, 5, 20, reasoning_tokens=5), TokenUsage(input=10, output=5, reasoning=5)),
    ],
)
def test_f10_classes_are_disjoint_and_their_sum_is_what_the_upstream_counted(
    reported: dict[str, Any], tokens: TokenUsage
) -> None:
    assert read_usage(reported) == (tokens, None)


@pytest.mark.parametrize(
    ("reported", "tokens", "flaw"),
    [
        (usage(0, 5), TokenUsage(output=5), "input_missing"),
        (usage(None, 5, 100), TokenUsage(output=5), "input_missing"),
        (usage(-1, 5), TokenUsage(output=5), "prompt_tokens_invalid"),
        (usage("10", 5), TokenUsage(output=5), "prompt_tokens_invalid"),
        (usage(True, 5), TokenUsage(output=5), "prompt_tokens_invalid"),
        (usage(10, 5.5), TokenUsage(input=10), "completion_tokens_invalid"),
        (usage(10, float("inf")), TokenUsage(input=10), "completion_tokens_invalid"),
        (usage(10, MAX_TOKENS + 1), TokenUsage(input=10), "completion_tokens_huge"),
        (usage(10**30, 5), TokenUsage(output=5), "prompt_tokens_huge"),
        (usage(1e30, 5), TokenUsage(output=5), "prompt_tokens_huge"),
        (usage(10, float("nan")), TokenUsage(input=10), "completion_tokens_invalid"),
        (usage(10, 5, 10**18), TokenUsage(input=10, output=5), "total_tokens_huge"),
        (usage(10, 5, cached_tokens=11), TokenUsage(input=10, output=5), "cached_tokens_exceeds_whole"),
        (usage(10, 5, reasoning_tokens=6), TokenUsage(input=10, output=5), "reasoning_tokens_exceeds_whole"),
        (usage(10, 5, 40), TokenUsage(input=10, output=5, reasoning=25), "total_exceeds_sum"),
        (usage(0, 0, 40), TokenUsage(), "total_exceeds_sum"),
        (usage(10, None), TokenUsage(input=10), "output_missing"),
        (usage(10, None, 30), TokenUsage(input=10, output=20), "output_missing"),
        (usage(None, 7), TokenUsage(output=7), "input_missing"),
    ],
)
def test_f53_nonsense_becomes_sane_and_is_marked(reported: dict[str, Any], tokens: TokenUsage, flaw: str) -> None:
    assert read_usage(reported) == (tokens, flaw)


@pytest.mark.parametrize(
    "cached",
    [
        {"prompt_tokens_details": {"cached_tokens": 900}},
        {"input_tokens_details": {"cached_tokens": 900}},
        {"prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100},
        {"cached_tokens": 900},
        {"input_cached_tokens": 900},
        {"cache_read_input_tokens": 900},
        {"prompt_tokens_details": {"cached_tokens": 900}, "prompt_cache_hit_tokens": 900},
        {"prompt_tokens_details": {"cached_tokens": None}, "prompt_cache_hit_tokens": 900},
    ],
)
def test_e10_cached_tokens_are_found_under_the_names_that_providers_give_them(cached: dict[str, Any]) -> None:
    reported = {"prompt_tokens": 1_000, "completion_tokens": 5, **cached}

    assert read_usage(reported) == (TokenUsage(input=100, cache_read=900, output=5), None)


@pytest.mark.parametrize(
    "written", [{"prompt_tokens_details": {"cache_creation_tokens": 300}}, {"cache_creation_input_tokens": 300}]
)
def test_e10_written_tokens_have_other_names_too(written: dict[str, Any]) -> None:
    reported = {"prompt_tokens": 1_000, "completion_tokens": 5, **written}

    assert read_usage(reported) == (TokenUsage(input=700, cache_write_5m=300, output=5), None)


def test_e10_where_the_cache_is_counted_beside_the_prompt_both_are_paid() -> None:
    reported = usage(1_000, 5, cached_tokens=9_000, cache_write_tokens=200)

    expected = TokenUsage(input=1_000, cache_read=9_000, cache_write_5m=200, output=5)
    assert read_usage(reported, input_includes_cache=False) == (expected, None)


COUNTS = some.one_of(some.integers(0, 60), some.none(), some.sampled_from([-1, 2.0, True, "7", 10**9]))
DETAILS = some.one_of(
    some.none(),
    some.dictionaries(some.sampled_from(["cached_tokens", "reasoning_tokens", "audio_tokens", "new_tokens"]), COUNTS),
)


@given(COUNTS, COUNTS, COUNTS, DETAILS, DETAILS, some.booleans())
def test_a_plain_report_is_read_as_any_other(
    prompt: Any, completion: Any, total: Any, prompt_details: Any, completion_details: Any, adds_up: bool
) -> None:
    """A field that nobody knows keeps a report from the short way through the rules, and changes nothing else."""
    if adds_up and type(prompt) is int and type(completion) is int:
        total = prompt + completion
    report = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }

    assert read_usage(report) == read_usage({**report, "unknown": None})
