"""
Settings of a process: one frozen dataclass, read from an environment, every problem reported at once.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class MeteringSettings:
        database_url: Secret = setting(parse=postgres_url)   # DATABASE_URL, required
        batch_size: int = setting(1000, minimum=1)             # BATCH_SIZE

    settings = load(MeteringSettings, os.environ)

A variable NAME may also come as NAME_FILE, the path of a file that holds the value (secrets mounted by an
orchestrator).
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "LARGEST_PORT",
    "Secret",
    "SettingsError",
    "host_name",
    "is_port",
    "load",
    "one_of",
    "setting",
    "unknown_names",
]

LARGEST_PORT = 65_535
PORT_DIGITS = len(str(LARGEST_PORT))

Settings = TypeVar("Settings")
Number = TypeVar("Number", int, float)


class SettingsError(Exception):
    """Every problem found, one a line. A message names the variable and never repeats a secret's value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows in a repr, a log or a traceback."""

    value: str = field(repr=False)

    def reveal(self) -> str:
        return self.value


def setting(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """A field with bounds for a number, or with a parser of its own, which raises ValueError with a reason that repeats
    no secret."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum, "parse": parse})


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser for `setting`: one of these words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return text

    return parse


def host_name(text: str) -> str:
    """A parser for `setting`: a name or an address that can be looked up at all."""
    try:
        text.encode("idna")
    except UnicodeError:
        # The name is not repeated: in a URL it may be a part of a password.
        raise ValueError(
            "no host is called so: a part between two dots is empty or has more than 63 characters"
        ) from None
    return text


def is_port(text: str) -> bool:
    """Of a URL: a number from 1 to LARGEST_PORT."""
    return text.isascii() and text.isdigit() and len(text) <= PORT_DIGITS and 0 < int(text) <= LARGEST_PORT


def load(kind: type[Settings], environment: Mapping[str, str]) -> Settings:
    """Build `kind` from the upper-case names of its fields. Raises SettingsError."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    types = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]  # A dataclass by contract.
        name = item.name.upper()
        try:
            text = _text(name, environment)
            if text is not None:
                values[item.name] = _parse(text, types[item.name], item.metadata)
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                problems.append(f"{name} is missing")
        except (ValueError, OSError) as error:
            problems.append(f"{name} is not valid: {_reason(error)}")
    if problems:
        raise SettingsError(problems)
    return kind(**values)


def unknown_names(kind: type, environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The variables that begin with `prefix` and set nothing, most likely misspelt, each with the closest name there is
    (or an empty text)."""
    names = {item.name.upper() for item in dataclasses.fields(kind)}
    known = names | {f"{name}_FILE" for name in names}
    unknown = sorted(name for name in environment if name.startswith(prefix) and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, names, n=1)), "") for name in unknown}


def _text(name: str, environment: Mapping[str, str]) -> str | None:
    direct, path = environment.get(name), environment.get(name + "_FILE")
    if direct and path:
        raise ValueError(f"both {name} and {name}_FILE are set; keep one")
    if path:
        return Path(path).read_text().strip() or None
    return direct or None  # An empty variable counts as absent, as in Compose files with unset substitutions.


def _parse(text: str, kind: Any, metadata: Mapping[str, Any]) -> Any:
    kinds = [option for option in typing.get_args(kind) if option is not type(None)] or [kind]
    value = (metadata.get("parse") or PARSERS.get(kinds[0], kinds[0]))(text)
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    if minimum is not None and value < minimum:
        raise ValueError(f"must be at least {minimum}")
    if maximum is not None and value > maximum:
        raise ValueError(f"must be at most {maximum}")
    return value


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _number(kind: type[Number], what: str) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"must be {what}") from None
        if not math.isfinite(number):  # No bound would refuse "nan".
            raise ValueError(f"must be {what}")
        return number

    return parse


PARSERS: dict[Any, Callable[[str], Any]] = {
    bool: _boolean,
    int: _number(int, "a whole number"),
    float: _number(float, "a number"),
}


def _reason(error: Exception) -> str:
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
