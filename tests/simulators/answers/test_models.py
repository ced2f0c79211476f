"""Which models exist, and what their families refuse."""

import pytest

from simulators.answers.models import ANTHROPIC, LISTED_ANTHROPIC, LISTED_OPENAI, OPENAI, find


@pytest.mark.parametrize(
    ("name", "max_output", "reasoning"),
    [
        ("gpt-4o", 16_384, False),
        ("gpt-4o-mini-2024-07-18", 16_384, False),
        ("gpt-4.1-nano", 32_768, False),
        ("gpt-5-mini", 128_000, True),
        ("gpt-6-astra", 128_000, True),
        ("o4-mini", 128_000, True),
    ],
)
def test_openai_s_families(name: str, max_output: int, reasoning: bool) -> None:
    family = find(OPENAI, name)

    assert family is not None
    assert (family.max_output, family.reasoning) == (max_output, reasoning)


@pytest.mark.parametrize(
    ("name", "max_output", "sampling", "prefill"),
    [
        ("claude-3-5-haiku-20241022", 8_192, True, True),
        ("claude-opus-4-1-20250805", 32_000, True, True),
        ("claude-sonnet-4-20250514", 64_000, True, True),
        ("claude-haiku-4-5-20251001", 64_000, True, True),
        ("claude-opus-4-6", 128_000, True, False),
        ("claude-opus-4-8", 128_000, False, False),
        ("claude-sonnet-5", 128_000, False, False),
        ("claude-sonnet-5-5", 128_000, False, False),
        ("claude-mythos-preview", 128_000, False, False),
    ],
)
def test_anthropic_s_families(name: str, max_output: int, sampling: bool, prefill: bool) -> None:
    family = find(ANTHROPIC, name)

    assert family is not None
    assert (family.max_output, family.sampling, family.prefill) == (max_output, sampling, prefill)


@pytest.mark.parametrize("name", ["", "gpt", "gpt-9", "claude", "claude-4", "llama-3", "xgpt-4o", "gpt-4ox"])
def test_other_names_do_not_exist(name: str) -> None:
    assert find(OPENAI, name) is None
    assert find(ANTHROPIC, name) is None


def test_listed_models_exist() -> None:
    assert all(find(OPENAI, name) for name in LISTED_OPENAI)
    assert all(find(ANTHROPIC, name) for name in LISTED_ANTHROPIC)
