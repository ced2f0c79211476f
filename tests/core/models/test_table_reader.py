"""Reading a table field by field: a wrong field is named, reading goes on, and nothing is left unread in silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.models.table_reader import Reader, Table

Read = Callable[[Table], Any]


def read(fields: dict[str, Any], how: Read, environment: dict[str, str] | None = None) -> tuple[Any, list[str]]:
    """The value, and the problems without the table's path."""
    reader = Reader(environment or {})
    value = how(reader.table(fields, "[t]"))
    assert all(problem.startswith("[t]") for problem in reader.problems)
    return value, [problem.removeprefix("[t]").removeprefix(": ") for problem in reader.problems]


@pytest.mark.parametrize(
    ("how", "good", "value"),
    [
        (lambda table: table.text("x"), "a", "a"),
        (lambda table: table.choice("x", ("a", "b")), "b", "b"),
        (lambda table: table.choices("x", ("a", "b")), ["b"], ["b"]),
        (lambda table: table.list_of_texts("x"), ["a", ""], ["a", ""]),
        (lambda table: table.texts("x"), {"k": "v"}, {"k": "v"}),
        (lambda table: table.flag("x", False), True, True),
        (lambda table: table.number("x", minimum=1), 1, 1),
        (lambda table: table.number("x"), 2**31 - 1, 2**31 - 1),
        (lambda table: table.seconds("x", 5.0), 1, 1.0),
        (lambda table: table.seconds("x", 5.0), 86_400, 86_400.0),
        (lambda table: table.url("x"), "https://h/v1/", "https://h/v1"),
        (lambda table: table.price("x"), "0.25", 250),
        (lambda table: table.price("x"), "0.001", 1),
        (lambda table: table.price("x"), "0", 0),
    ],
)
def test_a_right_field_is_read(how: Read, good: Any, value: Any) -> None:
    assert read({"x": good}, how) == (value, [])


@pytest.mark.parametrize(
    ("how", "wrong", "problem"),
    [
        (lambda table: table.text("x"), 1, "x must be a text"),
        (lambda table: table.choice("x", ("a", "b")), "c", "x must be one of a, b"),
        (lambda table: table.choices("x", ("a", "b")), ["c"], "x may hold a, b"),
        (lambda table: table.list_of_texts("x"), ["a", 1], "x must be a list of texts"),
        (lambda table: table.texts("x"), {"k": 1}, "x must be a table of texts"),
        (lambda table: table.list_of_tables("x"), {}, "x must be a list of tables"),
        (lambda table: table.flag("x", True), "yes", "x must be true or false"),
        (lambda table: table.number("x"), True, "x must be a whole number from 0 to 2147483647"),
        (lambda table: table.number("x", minimum=1), 0, "x must be a whole number from 1 to 2147483647"),
        (lambda table: table.number("x"), 2**31, "x must be a whole number from 0 to 2147483647"),
        (lambda table: table.number("x"), 1.0, "x must be a whole number"),
        (lambda table: table.seconds("x", 5.0), 0, "x must be a number of seconds from 0 to 86400"),
        (lambda table: table.seconds("x", 5.0), True, "x must be a number of seconds from 0 to 86400"),
        (lambda table: table.seconds("x", 5.0), float("nan"), "x must be a number of seconds from 0 to 86400"),
        (lambda table: table.price("x"), 0.25, 'x must be a text such as "0.25" (US dollars per 1M tokens)'),
        (lambda table: table.price("x"), "dear", "x must be an amount in US dollars per 1M tokens"),
        (lambda table: table.price("x"), "NaN", "x must be an amount in US dollars per 1M tokens"),
        (
            lambda table: table.price("x"),
            "0.0001",
            "x must be between 0 and 1000000, in steps of 0.001 US dollars per 1M tokens",
        ),
        (
            lambda table: table.price("x"),
            "-1",
            "x must be between 0 and 1000000, in steps of 0.001 US dollars per 1M tokens",
        ),
    ],
)
def test_a_wrong_field_is_named_once(how: Read, wrong: Any, problem: str) -> None:
    assert read({"x": wrong}, how)[1] == [problem]


def test_a_field_without_a_default_has_to_be_there() -> None:
    def both(table: Table) -> list[Any]:
        return [table.text("x"), table.number("y"), table.price("z")]

    assert read({}, both)[1] == ["x is missing", "y is missing", "z is missing"]


def test_a_price_that_is_not_named_has_its_default() -> None:
    assert read({}, lambda table: table.price("x", 7)) == (7, [])


def test_what_was_not_read_is_not_known() -> None:
    def some(table: Table) -> None:
        table.text("x")
        table.refuse_the_rest()

    assert read({"x": "a", "y": 1, "z": 2}, some)[1] == ["y is not known", "z is not known"]


@pytest.mark.parametrize(
    ("text", "environment", "value", "problems"),
    [
        ("${KEY}", {"KEY": "v"}, "v", []),
        ("a-${KEY}-b", {"KEY": "v"}, "a-v-b", []),
        ("${KEY:-d}", {}, "d", []),
        ("${KEY:-d}", {"KEY": "v"}, "v", []),
        ("${KEY:-}", {}, "", []),
        ("${KEY}", {}, "", ["KEY is not set in the environment"]),
        ("${key}", {"key": "v"}, "${key}", []),
        ("${KEY}", {"KEY": "${OTHER}", "OTHER": "o"}, "${OTHER}", []),
    ],
)
def test_a_text_takes_values_from_the_environment_once(
    text: str, environment: dict[str, str], value: str, problems: list[str]
) -> None:
    assert read({"x": text}, lambda table: table.text("x"), environment) == (value, problems)


def test_a_secret_can_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-1\n")

    assert Reader({"KEY_FILE": str(file), "KEY": "other"}).variable("KEY") == "sk-1"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_can_t_be_read_is_a_problem_and_its_contents_are_not_shown(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    reader = Reader({"KEY_FILE": str(file)})

    assert reader.variable("KEY") == ""
    assert len(reader.problems) == 1
    assert reader.problems[0].startswith("KEY_FILE can't be read: ")


def test_tables_in_tables_say_where_they_are() -> None:
    reader = Reader({})
    table = reader.table({"models": {"a": 1}, "rows": [{}, 2]}, "models.toml")

    names = [name for name, _ in table.tables("models")]
    table.list_of_tables("rows")

    assert names == ["a"]
    assert reader.problems == ['[models."a"] must be a table', "models.toml rows[1] must be a table"]
