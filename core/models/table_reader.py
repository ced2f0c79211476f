"""A table of the models file, read field by field. A wrong field is noted as a problem and reading goes on."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.models.upstream_rules import parse_address

__all__ = ["Reader", "Table"]

SUBSTITUTION = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")
NANO_PER_TOKEN = 1000
"""One dollar per 1M tokens is 1,000 nano-dollars per token."""
MAX_NUMBER = 2**31 - 1
MISSING: Any = object()


class Reader:
    """Collects the problems of one file and substitutes `${NAME}` from the environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._environment = environment

    def table(self, fields: object, path: str) -> "Table":
        if not isinstance(fields, dict):
            self.problems.append(f"{path} must be a table")
            fields = {}
        return Table(self, dict(fields), path)

    def variable(self, name: str) -> str | None:
        """The value of NAME, or the contents of the file that NAME_FILE points to."""
        path = self._environment.get(name + "_FILE")
        if not path:
            return self._environment.get(name) or None
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            self.problems.append(f"{name}_FILE can't be read: {error.strerror}")
        except ValueError:
            self.problems.append(f"{name}_FILE can't be read: it is no text, or its name is no path")
        return ""


class Table:
    """Fields are taken out as they are read, so that what is left over is unknown."""

    def __init__(self, reader: Reader, fields: dict[str, Any], path: str) -> None:
        self._reader = reader
        self._fields = fields
        self._path = path

    def problem(self, message: str) -> None:
        self._reader.problems.append(f"{self._path}: {message}")

    def refuse_the_rest(self) -> None:
        for name in self._fields:
            self.problem(f"{name} is not known")

    @property
    def names(self) -> list[str]:
        """Of the fields that have not been read."""
        return list(self._fields)

    def tables(self, name: str) -> Iterator[tuple[str, "Table"]]:
        """The tables of a table of tables, with their names."""
        for key, fields in self.table(name)._fields.items():
            yield key, self._reader.table(fields, f'[{name}."{key}"]')

    def table(self, name: str) -> "Table":
        return self._reader.table(self._fields.pop(name, {}), f"{self._path} {name}")

    def list_of_tables(self, name: str) -> list["Table"]:
        rows = self._take(name, [], list, "a list of tables") or []
        return [self._reader.table(row, f"{self._path} {name}[{index}]") for index, row in enumerate(rows)]

    def list_of_texts(self, name: str) -> list[str]:
        items = self._take(name, [], list, "a list of texts") or []
        if not all(isinstance(item, str) for item in items):
            self.problem(f"{name} must be a list of texts")
            return []
        return list(items)

    def choices(self, name: str, options: tuple[str, ...]) -> list[str]:
        """A list of texts, each one of the options."""
        values = self.list_of_texts(name)
        if not set(values) <= set(options):
            self.problem(f"{name} may hold {', '.join(options)}")
        return values

    def texts(self, name: str) -> dict[str, str]:
        """A table whose values are texts."""
        items: dict[str, str] = self._take(name, {}, dict, "a table of texts") or {}
        if not all(isinstance(item, str) for item in items.values()):
            self.problem(f"{name} must be a table of texts")
            return {}
        return items

    def text(self, name: str, default: str = MISSING) -> str:
        return self._text(name, default) or ""

    def choice(self, name: str, options: tuple[str, ...], default: str = MISSING) -> str:
        value = self._text(name, default)
        if value is not None and value not in options:
            self.problem(f"{name} must be one of {', '.join(options)}")
        return value or ""

    def flag(self, name: str, default: bool) -> bool:
        value = self._take(name, default, bool, "true or false")
        return default if value is None else bool(value)

    def number(self, name: str, default: int = MISSING, *, minimum: int = 0) -> int:
        value = self._take(name, default, int, "a whole number")
        if value is None:
            return minimum
        if type(value) is not int or not minimum <= value <= MAX_NUMBER:
            self.problem(f"{name} must be a whole number from {minimum} to {MAX_NUMBER}")
            return minimum
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self._take(name, default, (int, float), "a number of seconds")
        if value is None:
            return default
        if isinstance(value, bool) or not 0 < value <= 86_400:
            self.problem(f"{name} must be a number of seconds from 0 to 86400")
            return default
        return float(value)

    def url(self, name: str) -> str:
        value = self._text(name)
        try:
            if value is not None:
                parse_address(value)
        except ValueError as error:
            self.problem(f"{name} must be an http or https address without user, query and fragment ({error})")
        return (value or "").rstrip("/")

    def price(self, name: str, default: int = MISSING) -> int:
        """US dollars per 1M tokens as a text, turned into whole nano-dollars per token."""
        if name not in self._fields and default is not MISSING:
            return default
        value = self._take(name, MISSING, str, 'a text such as "0.25" (US dollars per 1M tokens)')
        if value is None:
            return 0
        try:
            nano = Decimal(value) * NANO_PER_TOKEN
            if 0 <= nano < 10**9 and nano == int(nano):
                return int(nano)
            self.problem(f"{name} must be between 0 and 1000000, in steps of 0.001 US dollars per 1M tokens")
        except (ArithmeticError, ValueError):
            self.problem(f"{name} must be an amount in US dollars per 1M tokens")
        return 0

    def substitute(self, text: str) -> str:
        return SUBSTITUTION.sub(self._variable, text)

    def _variable(self, match: re.Match[str]) -> str:
        name, default = match.groups()
        value = self._reader.variable(name)
        if value is None and default is None:
            self.problem(f"{name} is not set in the environment")
        return value if value is not None else (default or "")

    def _text(self, name: str, default: str = MISSING) -> str | None:
        value = self._take(name, default, str, "a text")
        return None if value is None else self.substitute(value)

    def _take(self, name: str, default: Any, kind: Any, what: str) -> Any:
        """The value, or None after noting what is wrong with it."""
        value = self._fields.pop(name, default)
        if value is MISSING:
            self.problem(f"{name} is missing")
        elif not isinstance(value, kind):
            self.problem(f"{name} must be {what}")
        else:
            return value
        return None
