from typing import Any

import pytest

from gateway.dialects.anthropic.thinking import Thinking, thinking
from gateway.errors import InvalidRequest

BUDGETED = "claude-sonnet-4-5-20250929"
ADAPTIVE = "claude-sonnet-5"
CALL = {"role": "assistant", "tool_calls": [{"id": "a"}]}
SIGNED = {"type": "thinking", "thinking": "", "signature": "S"}
RESULT = {"role": "tool", "tool_call_id": "a"}


def wanted(model: str, max_tokens: int = 10_000, *, clamped: bool = False, **document: Any) -> Thinking:
    document.setdefault("messages", [{"role": "user"}])
    return thinking(document, model=model, max_tokens=max_tokens, clamped=clamped)


def budget(tokens: int, **more: Any) -> Thinking:
    return Thinking({"type": "enabled", "budget_tokens": tokens, **more})


@pytest.mark.parametrize(
    ("model", "budgeted"),
    [
        ("claude-3-7-sonnet-latest", True),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", True),
        ("claude-opus-4-20250514", True),
        ("claude-sonnet-4", True),
        ("claude-sonnet-4@20250514", True),
        ("claude-opus-4-0", True),
        ("claude-opus-4-1-20250805", True),
        ("claude-opus-4.1", True),
        ("claude-haiku-4-5", True),
        ("claude-sonnet-4-6", False),
        ("claude-sonnet-4.6", False),
        ("claude-opus-4-8", False),
        ("claude-sonnet-5", False),
        ("claude-sonnet-5-5", False),
        ("claude-mythos-preview", False),
        ("something-new", False),
    ],
)
def test_older_models_get_a_budget_and_newer_ones_an_effort(model: str, budgeted: bool) -> None:
    config = wanted(model, reasoning_effort="high").config

    assert config is not None
    assert config["type"] == ("enabled" if budgeted else "adaptive")


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [("minimal", 1_024), ("low", 2_000), ("medium", 5_000), ("high", 8_000), ("xhigh", 9_000), ("max", 9_500)],
)
def test_a_budget_is_a_share_of_max_tokens(effort: str, tokens: int) -> None:
    assert wanted(BUDGETED, reasoning_effort=effort) == budget(tokens)


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(64_000, budget(32_000)), (2_000, budget(1_024)), (1_025, budget(1_024)), (1_024, Thinking()), (10, Thinking())],
)
def test_a_budget_stays_within_its_bounds_or_there_is_none(max_tokens: int, expected: Thinking) -> None:
    assert wanted(BUDGETED, max_tokens, reasoning_effort="medium") == expected


@pytest.mark.parametrize(("effort", "sent"), [("minimal", "low"), ("low", "low"), ("high", "high"), ("max", "max")])
def test_newer_models_think_as_long_as_they_like_at_an_effort(effort: str, sent: str) -> None:
    expected = Thinking({"type": "adaptive", "display": "summarized"}, sent)

    assert wanted(ADAPTIVE, reasoning_effort=effort) == expected
    assert wanted(ADAPTIVE, reasoning={"effort": effort}) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, Thinking()),
        ({"reasoning_effort": "none"}, Thinking({"type": "disabled"})),
        ({"reasoning": {"enabled": False}}, Thinking({"type": "disabled"})),
        ({"reasoning": {}}, Thinking()),
        ({"reasoning": {"enabled": True}}, budget(5_000)),
        ({"reasoning": {"max_tokens": 3_000}}, budget(3_000)),
        ({"reasoning": {"max_tokens": 90_000}}, budget(9_999)),
        ({"reasoning": {"effort": "low", "exclude": True}}, budget(2_000, display="omitted")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, budget(2_000)),
        ({"thinking": {"type": "disabled"}}, Thinking({"type": "disabled"})),
    ],
)
def test_the_three_ways_to_ask(document: dict[str, Any], expected: Thinking) -> None:
    assert wanted(BUDGETED, **document) == expected


@pytest.mark.parametrize(
    "document",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [{"role": "user"}, {"role": "assistant"}]},
        {"messages": [{"role": "user"}, CALL, RESULT, RESULT]},
        {"messages": [{"role": "user"}, {**CALL, "thinking_blocks": [{"type": "thinking"}]}, RESULT]},
    ],
)
def test_an_effort_is_dropped_where_an_older_model_refuses_to_think(document: dict[str, Any]) -> None:
    assert wanted(BUDGETED, reasoning_effort="high", **document) == Thinking()


def test_e3_an_explicit_budget_is_dropped_where_the_turn_lost_its_thinking() -> None:
    document: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2_000}}

    assert wanted(BUDGETED, messages=[{"role": "user"}, CALL, RESULT], **document) == Thinking()
    assert wanted(BUDGETED, messages=[{"role": "user"}], **document) == budget(2_000)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user"}, {**CALL, "thinking_blocks": [SIGNED]}, RESULT],
        [{"role": "user"}, CALL, RESULT, {"role": "assistant"}, {"role": "user"}],
        [RESULT],
    ],
)
def test_an_effort_holds_where_the_turn_began_with_thinking_or_is_over(messages: list[dict[str, Any]]) -> None:
    assert wanted(BUDGETED, reasoning_effort="high", messages=messages) == budget(8_000)


def test_an_explicit_budget_shrinks_only_with_a_clamp() -> None:
    document = {"thinking": {"type": "enabled", "budget_tokens": 9_000}}

    assert wanted(BUDGETED, 2_000, clamped=True, **document) == budget(1_999)
    assert wanted(BUDGETED, 2_000, clamped=False, **document) == budget(9_000)
    with pytest.raises(InvalidRequest, match="needs more than 1024 tokens of output; 500 are left"):
        wanted(BUDGETED, 500, clamped=True, **document)


@pytest.mark.parametrize(
    ("model", "document", "param"),
    [
        (BUDGETED, {"reasoning_effort": "extreme"}, "reasoning_effort"),
        (BUDGETED, {"reasoning_effort": 3}, "reasoning_effort"),
        (BUDGETED, {"reasoning_effort": "low", "reasoning": {"effort": "low"}}, "reasoning_effort"),
        (BUDGETED, {"reasoning": "low"}, "reasoning"),
        (BUDGETED, {"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        (BUDGETED, {"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
        (BUDGETED, {"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"),
        (ADAPTIVE, {"reasoning": {"max_tokens": 2_000}}, "reasoning.max_tokens"),
        (BUDGETED, {"thinking": True}, "thinking"),
    ],
)
def test_what_can_not_be_understood_is_refused(model: str, document: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted(model, **document)

    assert caught.value.param == param
