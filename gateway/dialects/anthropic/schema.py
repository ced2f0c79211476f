"""
A JSON Schema in the words that Anthropic's grammar knows: for structured answers and strict tools.

The grammar has types, properties, references, `anyOf`, literal values and a few formats. Every other keyword
(`minimum`, `maxLength`, `pattern` …) moves into the description, where the model reads it. Every object is closed and
every type stands alone, which narrows what the model may answer and never widens it. What can't be narrowed so is
inexpressible.
"""

from collections import defaultdict
from typing import Any

import orjson

__all__ = ["Inexpressible", "strict_schema"]

Schema = dict[str, Any]

DEFINITIONS = ("$defs", "definitions")
FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
KEPT = ("title", "description")
KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")
UNSPOKEN = ("$schema", "$id", "$comment", "$anchor", "additionalProperties")
"""What tells the model nothing."""
MAX_DEPTH = 64


class Inexpressible(Exception):
    """Says what Anthropic's grammar has no words for."""


def strict_schema(schema: Schema) -> Schema:
    """Raises Inexpressible."""
    _require_an_end(schema)
    return _node(schema, 0)


def _node(schema: object, depth: int) -> Schema:
    if depth > MAX_DEPTH:
        raise Inexpressible(f"A schema nested more than {MAX_DEPTH} levels deep")
    if not isinstance(schema, dict):
        raise Inexpressible("A schema that is true or false")
    source = _without_single_all_of(schema)
    node: Schema = {
        name: {key: _node(value, depth + 1) for key, value in source[name].items()}
        for name in DEFINITIONS
        if isinstance(source.get(name), dict)
    }
    if "$ref" in source:
        return node | {"$ref": _local(source["$ref"])}
    said = {name for name in (*DEFINITIONS, *UNSPOKEN, *KEPT) if name in source}
    shape = _shape(source, said, depth)
    texts = {name: source[name] for name in KEPT if isinstance(source.get(name), str)}
    unsaid = {name: value for name, value in source.items() if name not in said}
    if unsaid:
        texts["description"] = "\n\n".join(filter(None, (texts.get("description"), _in_words(unsaid))))
    return node | shape | texts


def _without_single_all_of(schema: Schema) -> Schema:
    """`allOf` with one member is how some tools add a description to a reference."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
        return schema
    return {**parts[0], **{name: value for name, value in schema.items() if name != "allOf"}}


def _local(reference: object) -> str:
    if isinstance(reference, str) and reference.startswith("#"):
        return reference
    raise Inexpressible("A reference to another document")


def _in_words(keywords: Schema) -> str:
    return "(" + ", ".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in keywords.items()) + ")"


def _shape(source: Schema, said: set[str], depth: int) -> Schema:
    """The part of a node that the grammar enforces; `said` learns which keywords that covers."""
    literals = _literals(source, said)
    if literals:
        return literals
    options = next((name for name in ("anyOf", "oneOf", "allOf") if isinstance(source.get(name), list)), None)
    if options and source[options] and not {"properties", "items"} & source.keys():
        said |= {options, "type"}
        inherited = {"type": source["type"]} if "type" in source else {}
        parts = [{**inherited, **part} if isinstance(part, dict) else part for part in source[options]]
        name = "allOf" if options == "allOf" else "anyOf"
        return {name: [_node(part, depth + 1) for part in parts]}
    said.add("type")
    kinds = [_kind(kind, source, said, depth) for kind in _kinds(source)]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _literals(source: Schema, said: set[str]) -> Schema:
    """Literal values say their type themselves."""
    literals = {}
    values = source.get("enum")
    if isinstance(values, list) and values and all(_is_plain(value) for value in values):
        literals["enum"] = values
    if "const" in source and _is_plain(source["const"]):
        literals["const"] = source["const"]
    if literals:
        said |= {*literals, "type"}
    return literals


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _kinds(source: Schema) -> list[str]:
    kinds = source.get("type")
    if kinds is None:
        kinds = "object" if "properties" in source else "array" if "items" in source else None
    named = [kind for kind in KINDS if kind == kinds or (isinstance(kinds, list) and kind in kinds)]
    if not named:
        raise Inexpressible("A value of any type")
    return named


def _kind(kind: str, source: Schema, said: set[str], depth: int) -> Schema:
    if kind == "object":
        said |= {"properties", "required"}
        return _object(source, depth)
    if kind == "array":
        return _array(source, said, depth)
    if kind == "string" and source.get("format") in FORMATS:
        said.add("format")
        return {"type": kind, "format": source["format"]}
    return {"type": kind}


def _object(source: Schema, depth: int) -> Schema:
    properties = source.get("properties") or {}
    if not isinstance(properties, dict):
        raise Inexpressible("`properties` that are no object")
    free_names = source.get("additionalProperties", "properties" not in source)
    if not properties and free_names is not False:
        raise Inexpressible("An object with properties of any name")
    closed: Schema = {"type": "object", "properties": {key: _node(one, depth + 1) for key, one in properties.items()}}
    closed["additionalProperties"] = False
    if isinstance(source.get("required"), list):
        closed["required"] = source["required"]
    return closed


def _array(source: Schema, said: set[str], depth: int) -> Schema:
    array: Schema = {"type": "array"}
    if isinstance(source.get("items"), dict):
        said.add("items")
        array["items"] = _node(source["items"], depth + 1)
    if source.get("minItems") in (0, 1):
        said.add("minItems")
        array["minItems"] = source["minItems"]
    return array


def _require_an_end(schema: Schema) -> None:
    """A grammar is finite: no definition may contain itself."""
    named = {f"#/{name}/{key}": one for name in DEFINITIONS for key, one in _definitions(schema, name).items()}
    open_references: dict[str, int] = {}
    users: defaultdict[str, list[str]] = defaultdict(list)
    for reference, definition in named.items():
        used = _references(definition) & named.keys()
        open_references[reference] = len(used)
        for one in used:
            users[one].append(reference)
    ended = [reference for reference, count in open_references.items() if count == 0]
    for reference in ended:  # It grows meanwhile: whoever uses only what has an end has one as well.
        for user in users[reference]:
            open_references[user] -= 1
            if open_references[user] == 0:
                ended.append(user)
    if len(ended) < len(named) or "#" in _references(schema):
        raise Inexpressible("A schema that contains itself")


def _definitions(schema: Schema, name: str) -> Schema:
    found = schema.get(name)
    return found if isinstance(found, dict) else {}


def _references(schema: object) -> set[str]:
    found: set[str] = set()
    _note_references(schema, 0, found)
    return found


def _note_references(value: object, depth: int, found: set[str]) -> None:
    if depth > 4 * MAX_DEPTH:
        raise Inexpressible(f"A schema nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        found.add(value["$ref"])
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _note_references(one, depth + 1, found)
