"""`poindexter usage`"""

from datetime import UTC, date, datetime
from pathlib import Path

import click

from core.principal import AccountId
from core.usage.money import format_usd
from deploy.commands.options import ID, json_option, state_option
from deploy.commands.running import ask
from deploy.printing import document, table
from deploy.services import Services
from metering.ledger.usage_report import UsageLine, UsageReport

__all__ = ["usage"]


@click.command(short_help="What an account used.")
@click.argument("account_id", type=ID)
@click.option("--by", type=click.Choice(["day", "model", "key"]), default="day", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day. Default: the first of this month (UTC).")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day. Default: today (UTC).")
@state_option
@json_option
def usage(
    account_id: int, by: str, since: datetime | None, until: datetime | None, state_directory: Path, as_json: bool
) -> None:
    """What the account ACCOUNT_ID used, from the ledger. An answer is in the ledger a moment after it ended."""
    today = datetime.now(UTC).date()
    first = since.date() if since else today.replace(day=1)
    last = until.date() if until else today
    if first > last:
        raise click.BadParameter(f"{first} is after {last}.", param_hint="--since")
    lines = ask(state_directory, lambda services: _lines(services, AccountId(account_id), by, first, last))
    if as_json:
        document(lines)
        return
    rows = [_row(line) for line in lines]
    if len(rows) > 1:
        rows.append(
            ("total", *(sum(column) for column in zip(*(_counts(line) for line in lines), strict=True)), _sum(lines))
        )
    table(
        (by, "requests", "estimated", "input", "cache read", "cache write", "output", "reasoning", "cost"),
        rows,
        empty=f"Nothing used from {first} to {last}.",
    )


async def _lines(services: Services, account_id: AccountId, by: str, since: date, until: date) -> list[UsageLine]:
    report = UsageReport(services.pool)
    ask_for = {"day": report.by_day, "model": report.by_model, "key": report.by_key}[by]
    lines = await ask_for(account_id, since, until)
    if not lines:
        await services.accounts.require(account_id)
    return lines


def _row(line: UsageLine) -> tuple[object, ...]:
    return (line.label, *_counts(line), format_usd(line.cost))


def _counts(line: UsageLine) -> tuple[int, ...]:
    return (
        line.requests,
        line.estimated_requests,
        line.input_tokens,
        line.cache_read_tokens,
        line.cache_write_tokens,
        line.output_tokens,
        line.reasoning_tokens,
    )


def _sum(lines: list[UsageLine]) -> str:
    return format_usd(sum(line.cost for line in lines))
