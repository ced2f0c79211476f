"""`poindexter accounts`"""

from pathlib import Path

import click

from core.accounts.plans import PLANS
from core.principal import AccountId
from core.usage.money import format_usd
from deploy.commands.options import AMOUNT, ID, json_option, state_option
from deploy.commands.running import ask
from deploy.commands.running import change as change_it
from deploy.printing import document, table
from portal_api.accounts import Account

__all__ = ["accounts"]


@click.group(short_help="Customers: plan, limits, spending cap.")
def accounts() -> None:
    """Customers: each account has a plan, limits, a spending cap and API keys."""


@accounts.command()
@click.argument("name")
@click.option("--plan", type=click.Choice(list(PLANS)), default="basic", show_default=True)
@click.option("--cap", type=AMOUNT, help="Spending cap per billing period in US dollars. Default: the plan's price.")
@state_option
@json_option
def create(name: str, plan: str, cap: int | None, state_directory: Path, as_json: bool) -> None:
    """Create an account named NAME. Give it a key next: `poindexter keys create ACCOUNT_ID`."""

    def show(account: Account) -> None:
        _show_one(account, as_json=as_json)
        if not as_json:
            click.echo(f"\nNext: poindexter keys create {account.account_id}")

    change_it(state_directory, lambda services: services.accounts.create(name, plan, cap_nano_usd=cap), show)


@accounts.command("list")
@state_option
@json_option
def list_accounts(state_directory: Path, as_json: bool) -> None:
    """Every account."""
    _show(ask(state_directory, lambda services: services.accounts.list()), as_json=as_json)


@accounts.command()
@click.argument("account_id", type=ID)
@click.option("--cap", type=AMOUNT, help="New spending cap per billing period in US dollars.")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Suspend or resume the account.")
@state_option
@json_option
def change(account_id: int, cap: int | None, status: str | None, state_directory: Path, as_json: bool) -> None:
    """Change the account ACCOUNT_ID. Holds on the very next request, on every gateway."""
    change_it(
        state_directory,
        lambda services: services.accounts.change(AccountId(account_id), status=status, cap_nano_usd=cap),
        lambda account: _show_one(account, as_json=as_json),
    )


def _show_one(account: Account, *, as_json: bool) -> None:
    if as_json:
        document(account)
    else:
        _show([account], as_json=False)


def _show(found: list[Account], *, as_json: bool) -> None:
    if as_json:
        document(found)
        return
    rows = [
        (
            str(account.account_id),
            account.name,
            account.plan,
            account.status,
            "none" if account.cap_nano_usd is None else format_usd(account.cap_nano_usd),
            f"{account.created_at:%Y-%m-%d %H:%M}",
        )
        for account in found
    ]
    table(
        ("id", "name", "plan", "status", "cap", "created"),
        rows,
        empty="No account yet. Create one: poindexter accounts create NAME",
    )
