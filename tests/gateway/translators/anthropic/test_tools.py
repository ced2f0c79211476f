from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.translators.anthropic.tools import tool_choice, tool_definitions

NAMED = {"type": "function", "function": {"name": "f"}}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        (function(), {"name": "f", "input_schema": {"type": "object"}}),
        (
            function(description="D", parameters={"type": "object", "properties": {}}, strict=True),
            {"name": "f", "description": "D", "input_schema": {"type": "object", "properties": {}}, "strict": True},
        ),
        (
            {**function(parameters={"properties": {}}, strict=False), "cache_control": {"type": "ephemeral"}},
            {
                "name": "f",
                "input_schema": {"type": "object", "properties": {}},
                "cache_control": {"type": "ephemeral"},
            },
        ),
    ],
)
def test_a_function_becomes_a_tool(tool: dict[str, Any], definition: dict[str, Any]) -> None:
    assert tool_definitions([tool]) == [definition]


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ({}, "tools"),
        (["f"], "tools[0]"),
        ([{"type": "web_search_20250305", "name": "web_search"}], "tools[0].type"),
        ([{"type": "custom", "custom": {"name": "f"}}], "tools[0].type"),
        ([{"type": "function"}], "tools[0].function"),
        ([function(), {"type": "function", "function": {}}], "tools[1].function.name"),
        ([function(parameters=[])], "tools[0].function.parameters"),
        ([function(description=1)], "tools[0].function.description"),
    ],
)
def test_other_tools_are_refused_by_their_place(tools: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tool_definitions(tools)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        (NAMED, None, {"type": "tool", "name": "f"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        (NAMED, False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ],
)
def test_choice_and_parallel_calls_become_one_setting(choice: object, parallel: object, expected: object) -> None:
    assert tool_choice(choice, parallel, has_tools=True) == expected


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_without_tools_there_is_no_choice(choice: object) -> None:
    assert tool_choice(choice, False, has_tools=False) is None


@pytest.mark.parametrize(
    ("choice", "parallel", "has_tools", "param"),
    [
        ("required", None, False, "tool_choice"),
        (NAMED, None, False, "tool_choice"),
        ("sometimes", None, True, "tool_choice"),
        ({"type": "allowed_tools"}, None, True, "tool_choice"),
        ({"type": "function", "function": {}}, None, True, "tool_choice.function.name"),
        (None, "no", True, "parallel_tool_calls"),
    ],
)
def test_other_choices_are_refused(choice: object, parallel: object, has_tools: bool, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tool_choice(choice, parallel, has_tools=has_tools)

    assert caught.value.param == param
