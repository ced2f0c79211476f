from typing import Any

import orjson
import pytest

from gateway.dialects.anthropic.tools import tool_choice, tool_definitions
from gateway.errors import InvalidRequest

NAMED = {"type": "function", "function": {"name": "f"}}


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **fields}}


@pytest.mark.parametrize(
    ("tool", "definition"),
    [
        (function(), {"name": "f", "input_schema": {"type": "object"}}),
        (
            function(description="D", parameters={"type": "object", "properties": {}}, strict=True),
            {
                "name": "f",
                "description": "D",
                "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
                "strict": True,
            },
        ),
        (
            function(strict=True),
            {
                "name": "f",
                "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
                "strict": True,
            },
        ),
        (
            function(parameters={"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}),
            {
                "name": "f",
                "input_schema": {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}},
            },
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


def test_c4_a_strict_tool_says_its_constraints_in_words() -> None:
    parameters = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}

    [tool] = tool_definitions([function(parameters=parameters, strict=True)])

    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"age": {"type": "integer", "description": "(minimum: 0)"}},
        "additionalProperties": False,
        "required": ["age"],
    }


@pytest.mark.parametrize("union", ["anyOf", "oneOf", "allOf"])
def test_c4_alternatives_at_the_top_of_a_tools_schema_become_words(union: str) -> None:
    a, b = {"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "string"}}}

    [tool] = tool_definitions([function(parameters={"type": "object", "description": "D", union: [a, b]})])

    assert tool["input_schema"] == {
        "type": "object",
        "description": f"D\n\nThe object must fit {orjson.dumps({union: [a, b]}).decode()}",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    }


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
        (
            [function(parameters={"type": "object", "additionalProperties": True}, strict=True)],
            "tools[0].function.parameters",
        ),
        ([function(parameters={"type": ["object", "null"]}, strict=True)], "tools[0].function.parameters"),
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
        (None, 0, True, "parallel_tool_calls"),
    ],
)
def test_other_choices_are_refused(choice: object, parallel: object, has_tools: bool, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tool_choice(choice, parallel, has_tools=has_tools)

    assert caught.value.param == param
