"""Options that several commands share."""

from pathlib import Path

import click

from core.usage.money import parse_usd

__all__ = ["AMOUNT", "ID", "LIMIT", "json_option", "state_option"]


class _Amount(click.ParamType[int]):
    name = "usd"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_usd(str(value).removeprefix("$"))
        except ValueError as error:
            self.fail(str(error), param, ctx)


AMOUNT = _Amount()
"""US dollars, turned into nano-dollars."""


class _WholeNumber(click.IntRange):
    name = "whole number"  # "'x' is not a valid integer range" would be click's own words.


ID = _WholeNumber(1, 2**63 - 1)
LIMIT = _WholeNumber(0, 2**31 - 1)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
state_option = click.option(
    "--state-directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".poindexter"),
    show_default=True,
    help="The installation of `poindexter up` whose database is used when DATABASE_URL and REDIS_URL are not set.",
)
