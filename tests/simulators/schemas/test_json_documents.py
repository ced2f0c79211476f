"""Documents from schemas: what a schema demands, the document has."""

from typing import Any

import pytest

from simulators.schemas.json_documents import document

RECURSIVE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["name", "next"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, str),
        ({"type": "integer", "minimum": 3, "maximum": 5}, int),
        ({"type": "number"}, float),
        ({"type": "boolean"}, bool),
        ({"type": "null"}, type(None)),
        ({"type": ["null", "integer"]}, int),
        ({"type": "array", "items": {"type": "string"}}, list),
        ({"properties": {}}, dict),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, int),
        ({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]}, dict),
        (RECURSIVE, dict),
    ],
)
def test_a_document_has_the_type_of_its_schema(schema: Any, kind: type, seed: int) -> None:
    assert type(document(schema, seed)) is kind


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"enum": ["a", "b"]}, {"a", "b"}),
        ({"const": 5}, {5}),
        ({"type": "integer", "minimum": 3, "maximum": 5}, {3, 4, 5}),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6}, {4, 5}),
        ({"type": "integer", "minimum": 1, "multipleOf": 5, "maximum": 12}, {5, 10}),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {0.5}),
        ({"type": "string", "format": "date"}, {"2026-01-02"}),
    ],
)
def test_a_value_stays_inside_its_limits(schema: dict[str, Any], allowed: set[Any], seed: int) -> None:
    assert document(schema, seed) in allowed


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 3), (20, 20), (7, 9)])
def test_strings_and_arrays_have_allowed_lengths(minimum: int, maximum: int) -> None:
    text = document({"type": "string", "minLength": minimum, "maxLength": maximum})
    items = document({"type": "array", "items": {"type": "null"}, "minItems": minimum, "maxItems": maximum})

    assert minimum <= len(text) <= maximum
    assert minimum <= len(items) <= maximum


def test_every_required_property_is_there_however_deep() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(15):
        schema = {"type": "object", "properties": {"in": schema, "maybe": {}}, "required": ["in"]}

    found, depth = document(schema), 0
    while isinstance(found, dict):
        found, depth = found["in"], depth + 1

    assert (depth, type(found)) == (15, str)


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert document(RECURSIVE)["next"]["next"]["name"]
    assert document({"$ref": "#"}) is None
