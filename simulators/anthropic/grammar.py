"""
The JSON Schemas that Anthropic can turn into a grammar, for `output_config.format` and strict tools: it has fewer
keywords than JSON Schema. Pure; `check_grammar` raises the first `Refused`.
"""

from typing import Any

from simulators.faults.refusals import Refused

ANY_KIND = {
    "type",
    "title",
    "description",
    "default",
    "enum",
    "const",
    "anyOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
}
BY_KIND = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems"},
    "string": {"format", "pattern"},
}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
COMBINED = ("anyOf", "allOf")
NAMED = ("properties", "$defs", "definitions")


def check_grammar(schema: dict[str, Any], where: str) -> None:
    """`where` is the path of the schema in the request."""
    for name in ("$defs", "definitions"):
        for key in schema.get(name) or {}:
            _no_circle(schema, f"#/{name}/{key}", ())
    _check(schema, where)


def _check(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        raise Refused(400, f"{where}: Schema must be an object")
    if "oneOf" in schema:
        raise Refused(400, f"{where}: Schema type 'oneOf' is not supported")
    _says_what_it_is(schema, where)
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    known = ANY_KIND.union(*(BY_KIND.get(kind, set()) for kind in kinds))
    for keyword in schema:
        if keyword not in known:
            kind = kinds[0] if kinds else "schema"
            raise Refused(400, f"{where}: For '{kind}' type, property '{keyword}' is not supported")
    if "object" in kinds and schema.get("additionalProperties") is not False:
        rule = "For 'object' type, 'additionalProperties' must be explicitly set to false"
        raise Refused(400, f"{where}: {rule}")
    _values(schema, where)
    for inner in _inner(schema):
        _check(inner, where)


def _says_what_it_is(schema: dict[str, Any], where: str) -> None:
    if not schema.keys() & {"type", "enum", "const", "$ref", *COMBINED}:
        raise Refused(400, f"{where}: Schema must have a 'type', 'anyOf', 'allOf', 'enum', 'const' or '$ref'")
    reference = schema.get("$ref", "#/")
    if not reference.startswith("#/"):
        raise Refused(400, f"{where}: Only references to '#/…' are supported, but got '{reference}'")


def _values(schema: dict[str, Any], where: str) -> None:
    if schema.get("minItems", 0) not in (0, 1):
        raise Refused(400, f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    if schema.get("format", "date") not in FORMATS:
        raise Refused(400, f"{where}: For 'string' type, 'format' value '{schema['format']}' is not supported")
    for value in [*schema.get("enum", []), schema.get("const")]:
        if isinstance(value, dict | list):
            raise Refused(400, f"{where}: Complex types are not supported within enums")


def _inner(schema: dict[str, Any]) -> list[Any]:
    combined = [one for name in COMBINED for one in schema.get(name) or []]
    named = [one for name in NAMED for one in (schema.get(name) or {}).values()]
    return [*combined, *named, *([schema["items"]] if "items" in schema else [])]


def _no_circle(root: dict[str, Any], reference: str, path: tuple[str, ...]) -> None:
    if reference in path:
        raise Refused(400, f"Circular reference detected in schema definitions: {' -> '.join((*path, reference))}")
    name, _, key = reference.removeprefix("#/").partition("/")
    for inner in _references((root.get(name) or {}).get(key)):
        _no_circle(root, inner, (*path, reference))


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for one in value.values() for found in _references(one)]
