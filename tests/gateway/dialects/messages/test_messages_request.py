"""What the gateway reads of a body of `/v1/messages`, and what becomes of it at Anthropic."""

import json
from typing import Any

import pytest

from gateway.dialects.messages.messages_request import parse_messages
from gateway.dialects.pairs.messages_anthropic import MessagesToAnthropic
from gateway.errors import InvalidRequest

BODY: dict[str, Any] = {"model": "m", "max_tokens": 5_000, "messages": [{"role": "user", "content": "Hi"}]}


def parsed(**more: Any) -> Any:
    return parse_messages(json.dumps({**BODY, **more}).encode())


def sent(granted: int, **more: Any) -> dict[str, Any]:
    request = parsed(**more)
    clamp = granted != request.max_output_tokens
    body = MessagesToAnthropic().request(request, upstream_model="claude-x", max_output_tokens=granted, clamp=clamp)
    document: dict[str, Any] = json.loads(body)
    return document


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages[0]"),
        ({"model": ""}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"service_tier": 1}, "service_tier"),
    ],
)
def test_what_the_gateway_relies_on_is_checked(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(**changes)

    assert refused.value.param == param


def test_pictures_are_found_inside_the_results_of_tools_too() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, picture]}

    request = parsed(messages=[{"role": "user", "content": [picture, result, {"type": "text", "text": "y"}]}])

    assert request.media == [picture, picture]


def test_only_the_models_name_changes() -> None:
    more = {"system": "s", "top_k": 3, "new_field": {"a": [1]}, "thinking": {"type": "enabled", "budget_tokens": 2_000}}

    assert sent(5_000, **more) == {**BODY, **more, "model": "claude-x"}


def test_a_cap_that_leaves_less_lowers_the_limit_and_the_budget_of_thinking() -> None:
    document = sent(1_500, thinking={"type": "enabled", "budget_tokens": 2_000, "display": "omitted"})

    assert document["max_tokens"] == 1_500
    assert document["thinking"] == {"type": "enabled", "budget_tokens": 1_499, "display": "omitted"}


def test_a_cap_that_leaves_too_little_for_thinking_is_said_before_anything_is_sent() -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(1_000, thinking={"type": "enabled", "budget_tokens": 2_000})

    assert refused.value.param == "thinking"


@pytest.mark.parametrize("tier", ["auto", "standard_only", None])
def test_the_usual_tiers_are_no_tier(tier: str | None) -> None:
    assert parsed(service_tier=tier).service_tier == ""


def test_compaction_is_refused_because_its_work_stands_in_no_count() -> None:
    edits = [{"type": "clear_tool_uses_20250919"}]

    assert sent(5_000, context_management={"edits": edits})["context_management"] == {"edits": edits}
    with pytest.raises(InvalidRequest) as refused:
        sent(5_000, context_management={"edits": [*edits, {"type": "compact_20260112"}]})

    assert refused.value.param == "context_management"
