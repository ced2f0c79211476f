"""What the commands print: tables for people, one JSON document for scripts, errors on standard error."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import orjson

__all__ = ["document", "fail", "table"]


def document(value: Any) -> None:
    """Dataclasses, dates and plain values as JSON."""
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Aligned columns, numbers to the right; `empty` says what to do when there is nothing to show."""
    if not rows:
        click.echo(empty)
        return
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(columns), *cells]) for column in range(len(columns))]
    right = [
        all(isinstance(row[column], int) or str(row[column]).startswith("$") for row in rows)
        for column in range(len(columns))
    ]
    for line in [[name.upper() for name in columns], *cells]:
        padded = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def fail(message: str, *, status: int = 1) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
