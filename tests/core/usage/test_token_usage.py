from hypothesis import given
from hypothesis import strategies as st

from core.usage.token_usage import CLASSES, TokenUsage

USAGES = st.builds(TokenUsage, *[st.integers(0, 10**9)] * len(CLASSES))


@given(USAGES)
def test_the_classes_are_disjoint_and_add_up(usage: TokenUsage) -> None:
    assert usage.total == usage.prompt + usage.completion == sum(usage.as_tuple())


@given(USAGES)
def test_the_tuple_has_the_order_of_the_classes(usage: TokenUsage) -> None:
    assert usage.as_tuple() == tuple(getattr(usage, name) for name in CLASSES)
    assert TokenUsage(*usage.as_tuple()) == usage


def test_nothing_used_is_zero_in_every_class() -> None:
    assert TokenUsage().as_tuple() == (0,) * 6


def test_cached_input_counts_as_prompt_and_reasoning_as_completion() -> None:
    usage = TokenUsage(input=1, cache_read=2, cache_write_5m=4, cache_write_1h=8, output=16, reasoning=32)

    assert usage.prompt == 15
    assert usage.completion == 48
