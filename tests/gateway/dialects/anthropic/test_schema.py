"""C4: the keywords that Anthropic's grammar refuses are said in words, and the rest of the schema is enforced."""

from typing import Any

import anthropic
import pytest

from gateway.dialects.anthropic.schema import Inexpressible, strict_schema

Schema = dict[str, Any]


def of(property_schema: Any, **more: Any) -> Schema:
    return {"type": "object", "properties": {"p": property_schema}, **more}


def translated(property_schema: Any, **more: Any) -> Any:
    return strict_schema(of(property_schema, **more))["properties"]["p"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 0}, {"type": "integer", "description": "(minimum: 0)"}),
        (
            {"type": "number", "description": "How much.", "exclusiveMinimum": 0, "multipleOf": 0.5},
            {"type": "number", "description": "How much.\n\n(exclusiveMinimum: 0, multipleOf: 0.5)"},
        ),
        (
            {"type": "string", "minLength": 1, "maxLength": 5, "pattern": '^a"$'},
            {"type": "string", "description": '(minLength: 1, maxLength: 5, pattern: "^a\\"$")'},
        ),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "iban"}, {"type": "string", "description": '(format: "iban")'}),
        (
            {"type": "string", "title": "T", "default": "x"},
            {"type": "string", "title": "T", "description": '(default: "x")'},
        ),
        ({"type": "string", "enum": ["a", None, 1]}, {"enum": ["a", None, 1]}),
        ({"const": "a"}, {"const": "a"}),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"enum": ["a", None]}),
        (
            {"type": "object", "properties": {}, "enum": [{}]},
            {"type": "object", "properties": {}, "additionalProperties": False, "description": "(enum: [{}])"},
        ),
        (
            {"type": "array", "items": {"type": "integer", "maximum": 9}, "minItems": 1, "maxItems": 3},
            {
                "type": "array",
                "items": {"type": "integer", "description": "(maximum: 9)"},
                "minItems": 1,
                "description": "(maxItems: 3)",
            },
        ),
        (
            {"items": {"type": "null"}, "minItems": 2, "uniqueItems": True},
            {"type": "array", "items": {"type": "null"}, "description": "(minItems: 2, uniqueItems: true)"},
        ),
        (
            {"type": ["string", "null"], "maxLength": 5, "format": "uuid"},
            {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}], "description": "(maxLength: 5)"},
        ),
        (
            {"oneOf": [{"type": "string"}, {"type": "integer", "minimum": 1}]},
            {"anyOf": [{"type": "string"}, {"type": "integer", "description": "(minimum: 1)"}]},
        ),
        (
            {"type": "object", "anyOf": [{"properties": {"a": {"type": "null"}}}]},
            {"anyOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False}]},
        ),
        (
            {"properties": {"a": {"type": "null"}}, "anyOf": [{"required": ["a"]}]},
            {
                "type": "object",
                "properties": {"a": {"type": "null"}},
                "additionalProperties": False,
                "description": '(anyOf: [{"required":["a"]}])',
            },
        ),
        ({"allOf": [{"$ref": "#/$defs/A"}], "description": "D"}, {"$ref": "#/$defs/A"}),
        (
            {"allOf": [{"type": "string"}, {"type": "string", "minLength": 1}]},
            {"allOf": [{"type": "string"}, {"type": "string", "description": "(minLength: 1)"}]},
        ),
        ({"$ref": "#/$defs/A", "description": "D"}, {"$ref": "#/$defs/A"}),
        (of({"type": "null"}, additionalProperties=True), {**of({"type": "null"}), "additionalProperties": False}),
    ],
)
def test_a_keyword_is_kept_or_said(schema: Schema, expected: Schema) -> None:
    assert translated(schema) == expected


def test_definitions_are_translated_where_they_stand() -> None:
    schema = of({"$ref": "#/$defs/A"}, **{"$defs": {"A": of({"$ref": "#/definitions/B"})}})
    schema["definitions"] = {"B": {"type": "integer", "minimum": 1}}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"

    strict = strict_schema(schema)

    assert strict["$defs"]["A"]["additionalProperties"] is False
    assert strict["definitions"] == {"B": {"type": "integer", "description": "(minimum: 1)"}}
    assert "$schema" not in strict
    assert "description" not in strict


def test_names_of_properties_that_look_like_keywords_are_names() -> None:
    schema = of({"type": "string"}, required=["minimum"])
    schema["properties"]["minimum"] = {"type": "integer"}

    assert strict_schema(schema)["properties"]["minimum"] == {"type": "integer"}


def endless() -> Schema:
    schema: Schema = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object"}, "properties of any name"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "properties of any name"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "properties of any name"),
        ({}, "any type"),
        ({"description": "anything"}, "any type"),
        ({"type": "anything"}, "any type"),
        ({"type": []}, "any type"),
        (True, "true or false"),
        ({"$ref": "https://example.org/a.json"}, "another document"),
        ({"$ref": "#"}, "contains itself"),
        (endless(), "64 levels"),
    ],
)
def test_what_has_no_finite_closed_form_is_inexpressible(schema: Any, why: str) -> None:
    with pytest.raises(Inexpressible, match=why):
        translated(schema)


def test_definitions_that_contain_themselves_are_inexpressible() -> None:
    tree = of({"type": "array", "items": {"$ref": "#/$defs/B"}})

    with pytest.raises(Inexpressible, match="contains itself"):
        strict_schema(of({"$ref": "#/$defs/A"}, **{"$defs": {"A": tree, "B": of({"$ref": "#/$defs/A"})}}))


def test_the_provider_s_own_sdk_leaves_the_translated_schema_as_it_is() -> None:
    schema = of(
        {"type": "array", "items": {"type": "string", "format": "date", "minLength": 1}, "minItems": 1},
        required=["p"],
        **{"$defs": {"A": {"enum": ["a", "b"]}, "B": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 1}]}}},
    )

    strict = strict_schema(schema)

    assert anthropic.transform_schema(strict) == strict
