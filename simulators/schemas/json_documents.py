"""
`document` makes a JSON document that satisfies a JSON Schema: the arguments of a tool call, a structured answer.

Pure and deterministic: the same schema and seed give the same document. It knows what language models' schemas use:
type, enum, const, properties, required, items, anyOf/oneOf/allOf, $ref, ranges, lengths (up to a bound) and formats;
not `pattern`.
"""

from typing import Any

DEEPEST = 12
MOST_ITEMS = 100
LONGEST_STRING = 10_000
FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "email": "ada@example.com",
    "uri": "https://example.com/a",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
STRINGS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor")


def document(schema: dict[str, Any], seed: int = 0) -> Any:
    """A value that the schema accepts; references are resolved inside `schema`."""
    return _Maker(schema, seed).make(schema, 0)


class _Maker:
    def __init__(self, root: dict[str, Any], seed: int) -> None:
        self._root = root
        self._seed = seed

    def make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return None
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._seed % len(schema["enum"])]
        return getattr(self, f"_{_kind(schema, depth)}")(schema, depth)

    def _resolved(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        for _ in range(DEEPEST):
            if "$ref" in schema:
                schema = self._referenced(schema["$ref"])
            elif schema.get("allOf"):
                schema = _merged(schema, [self._resolved(part, depth) for part in schema["allOf"] if part])
            elif schema.get("anyOf") or schema.get("oneOf"):
                options = [one for one in schema.get("anyOf") or schema["oneOf"] if isinstance(one, dict)] or [{}]
                # Deep down, a null or a plain value ends the recursion of a schema that refers to itself.
                schema = next((one for one in options if depth > DEEPEST and one.get("type") == "null"), options[0])
            else:
                return schema
        return {"type": "null"}

    def _referenced(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part and isinstance(found, dict):
                found = found.get(part.replace("~1", "/").replace("~0", "~"))
        return found if isinstance(found, dict) else {}

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        names = [name for name in properties if depth < DEEPEST // 2 or name in required]
        return {name: self.make(properties[name], depth + 1) for name in names} if depth < 3 * DEEPEST else {}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = min(schema.get("minItems", 0), MOST_ITEMS)
        wanted = least if depth > DEEPEST // 2 else max(least, min(2, schema.get("maxItems", 2)))
        prefix = [self.make(item, depth + 1) for item in schema.get("prefixItems", [])]
        return prefix + [self.make(schema.get("items", {}), depth + 1) for _ in range(wanted - len(prefix))]

    def _string(self, schema: dict[str, Any], depth: int) -> str:
        text = FORMATS.get(schema.get("format", "")) or STRINGS[(self._seed + depth) % len(STRINGS)]
        shortest = min(schema.get("minLength", 0), LONGEST_STRING)
        if len(text) < shortest:
            text = (text * shortest)[:shortest]
        return text[: schema.get("maxLength", len(text))]

    def _integer(self, schema: dict[str, Any], depth: int) -> int:
        step = schema.get("multipleOf", 1)
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 101) - ("exclusiveMaximum" in schema))
        lowest = -(-least // step) * step
        return int(lowest + step * (self._seed % max(1, int((most - lowest) // step) + 1)))

    def _number(self, schema: dict[str, Any], depth: int) -> float:
        least, most = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if least is not None and most is not None:
            return float((least + most) / 2)
        return self._integer(schema, depth) + (
            0.5 if not schema.keys() & {"maximum", "multipleOf", "exclusiveMaximum"} else 0.0
        )

    def _boolean(self, schema: dict[str, Any], depth: int) -> bool:
        return self._seed % 2 == 0

    def _null(self, schema: dict[str, Any], depth: int) -> None:
        return None


def _kind(schema: dict[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if depth > DEEPEST and "null" in kind else next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return kind if kind in ("object", "array", "string", "integer", "number", "boolean", "null") else "string"


def _merged(schema: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged = {**merged, **part}
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged
