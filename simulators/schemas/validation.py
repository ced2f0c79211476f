"""
A small table-driven validator: a `Spec` says what a JSON value must look like, a `Problem` says where it does not.

Pure, and without any provider's wording: `openai_errors` and `anthropic_errors` turn the same problem into the sentence
that the real provider would answer.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Path = tuple[str | int, ...]

KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "decimal",
    str: "string",
    list: "array",
    dict: "object",
}


def kind_of(value: Any) -> str:
    """The JSON kind of a decoded value; an integer is not a decimal, a boolean is neither."""
    return KINDS[type(value)]


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing wrong with a request.

    `kind` is one of unknown, missing, type, below, above, choice, tag, pattern, too_short, too_long.
    `expected` is the limit, the choices or the kind that was wanted; `noun` is the JSON kind it is about.
    """

    kind: str
    path: Path
    expected: Any = None
    got: Any = None
    noun: str = ""


class Spec:
    """What one JSON value must look like. The default accepts everything."""

    kinds: frozenset[str] = frozenset(KINDS.values())
    noun = "value"

    def problems(self, value: Any, path: Path = ()) -> Iterator[Problem]:
        """Every problem of `value`, outermost first."""
        if kind_of(value) not in self.kinds:
            yield Problem("type", path, expected=self.noun, got=kind_of(value), noun=self.noun)
        else:
            yield from self._inside(value, path)

    def first_problem(self, value: Any) -> Problem | None:
        return next(self.problems(value), None)

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        yield from ()


class Null(Spec):
    kinds = frozenset({"null"})
    noun = "null"


class Flag(Spec):
    kinds = frozenset({"boolean"})
    noun = "boolean"


@dataclass(frozen=True)
class Text(Spec):
    pattern: str | None = None
    shortest: int = 0
    longest: int | None = None
    kinds = frozenset({"string"})
    noun = "string"

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        if len(value) < self.shortest:
            yield Problem("too_short", path, self.shortest, len(value), "string")
        if self.longest is not None and len(value) > self.longest:
            yield Problem("too_long", path, self.longest, len(value), "string")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            yield Problem("pattern", path, self.pattern, value, "string")


@dataclass(frozen=True)
class Number(Spec):
    least: float | None = None
    most: float | None = None
    kinds = frozenset({"integer", "decimal"})
    noun = "decimal"

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        if self.least is not None and value < self.least:
            yield Problem("below", path, self.least, value, self.noun)
        if self.most is not None and value > self.most:
            yield Problem("above", path, self.most, value, self.noun)


@dataclass(frozen=True)
class Integer(Number):
    kinds = frozenset({"integer"})
    noun = "integer"


class Choice(Spec):
    kinds = frozenset({"string"})
    noun = "string"

    def __init__(self, *values: str) -> None:
        self.values = values

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        if value not in self.values:
            yield Problem("choice", path, self.values, value, "string")


@dataclass(frozen=True)
class Items(Spec):
    of: Spec
    fewest: int = 0
    most: int | None = None
    kinds = frozenset({"array"})
    noun = "array"

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        if len(value) < self.fewest:
            yield Problem("too_short", path, self.fewest, len(value), "array")
        if self.most is not None and len(value) > self.most:
            yield Problem("too_long", path, self.most, len(value), "array")
        for index, item in enumerate(value):
            yield from self.of.problems(item, (*path, index))


@dataclass(frozen=True)
class Fields(Spec):
    """An object with named fields. `extra` is the spec of all other fields; None refuses them."""

    required: Mapping[str, Spec] = field(default_factory=dict)
    optional: Mapping[str, Spec] = field(default_factory=dict)
    extra: Spec | None = None
    most: int | None = None
    kinds = frozenset({"object"})
    noun = "object"

    @cached_property
    def known(self) -> dict[str, Spec]:
        return {**self.required, **self.optional}

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        for name in self.required:
            if name not in value:
                yield Problem("missing", (*path, name))
        if self.most is not None and len(value) > self.most:
            yield Problem("too_long", path, self.most, len(value), "object")
        for name, item in value.items():
            spec = self.known.get(name, self.extra)
            if spec is None:
                yield Problem("unknown", (*path, name))
            else:
                yield from spec.problems(item, (*path, name))


@dataclass(frozen=True)
class Tagged(Spec):
    """An object whose field `tag` chooses its shape. `untagged` is the variant for objects without the field."""

    variants: Mapping[str, Spec]
    tag: str = "type"
    untagged: str | None = None
    shown_in_path: bool = False
    kinds = frozenset({"object"})
    noun = "object"

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        tag = value.get(self.tag) or self.untagged
        if tag is None:
            yield Problem("missing", (*path, self.tag))
        elif not isinstance(tag, str) or tag not in self.variants:
            yield Problem("tag", (*path, self.tag), tuple(self.variants), tag, "string")
        else:
            yield from self.variants[tag].problems(value, (*path, tag) if self.shown_in_path else path)


class Either(Spec):
    """The first option that takes the value's JSON kind decides."""

    def __init__(self, *options: Spec) -> None:
        self.options = options
        self.kinds = frozenset().union(*(option.kinds for option in options))
        self.noun = " or ".join(dict.fromkeys(option.noun for option in options))

    def _inside(self, value: Any, path: Path) -> Iterator[Problem]:
        option = next(option for option in self.options if kind_of(value) in option.kinds)
        yield from option.problems(value, path)


def optional(spec: Spec) -> Spec:
    """The same, or null."""
    return Either(spec, Null())


ANYTHING = Spec()
ANY_OBJECT = Fields(extra=ANYTHING)
