"""`poindexter keys`"""

from datetime import UTC, datetime
from pathlib import Path

import click

from core.principal import AccountId, KeyId
from core.usage.money import format_usd
from deploy.commands.options import AMOUNT, ID, LIMIT, json_option, state_option
from deploy.commands.running import ask, change
from deploy.printing import document, table
from deploy.services import Services
from portal_api.api_keys import CreatedKey, KeyLimits, KeySummary

__all__ = ["keys"]


@click.group(short_help="API keys of an account.")
def keys() -> None:
    """API keys. A key is shown once, when it is created; only its digest is stored."""


@keys.command()
@click.argument("account_id", type=ID)
@click.option("--name", default="default", show_default=True, help="What tells this key from the account's others.")
@click.option("--model", "models", multiple=True, help="Allow only this model; repeat for more. Default: all.")
@click.option("--cap", type=AMOUNT, help="Spending cap of this key per billing period in US dollars.")
@click.option("--rpm", type=LIMIT, help="Requests per minute.")
@click.option("--tpm", type=LIMIT, help="Tokens per minute.")
@click.option("--concurrency", type=LIMIT, help="Requests at once.")
@click.option("--expires", type=click.DateTime(), help="When the key stops working (UTC).")
@state_option
@json_option
def create(
    account_id: int,
    name: str,
    models: tuple[str, ...],
    cap: int | None,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    expires: datetime | None,
    state_directory: Path,
    as_json: bool,
) -> None:
    """Create a key for the account ACCOUNT_ID and print it, this once. It works at once."""
    ends = expires.replace(tzinfo=UTC) if expires else None
    if ends and ends <= datetime.now(UTC):
        raise click.BadParameter(f"{ends:%Y-%m-%d %H:%M} UTC has passed.", param_hint="--expires")
    limits = KeyLimits(
        models=models or None,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        concurrent_requests=concurrency,
        cap_nano_usd=cap,
        expires_at=ends,
    )
    change(
        state_directory,
        lambda services: services.api_keys.create(AccountId(account_id), name, limits),
        lambda created: _show_created(created, as_json=as_json),
    )


@keys.command("list")
@click.argument("account_id", type=ID, required=False)
@state_option
@json_option
def list_keys(account_id: int | None, state_directory: Path, as_json: bool) -> None:
    """The keys of the account ACCOUNT_ID, or of all accounts."""

    async def found(services: Services) -> list[KeySummary]:
        if account_id is None:
            return await services.api_keys.list()
        await services.accounts.require(AccountId(account_id))
        return await services.api_keys.list(AccountId(account_id))

    _show(ask(state_directory, found), as_json=as_json)


@keys.command()
@click.argument("key_id", type=ID)
@state_option
@json_option
def revoke(key_id: int, state_directory: Path, as_json: bool) -> None:
    """Revoke the key KEY_ID. When this command returns, no gateway admits a request of it any more."""
    change(
        state_directory,
        lambda services: services.api_keys.revoke(KeyId(key_id)),
        lambda key: document(key) if as_json else _show([key], as_json=False),
    )


@keys.command(short_help="Tell the gateways what was saved without Redis.")
@state_option
def publish(state_directory: Path) -> None:
    """Tell the gateways about changes that were saved while Redis could not be reached."""
    count = ask(state_directory, lambda services: services.publication.publish_missing())
    click.echo(f"{count} changes published." if count else "Nothing was waiting: the gateways know everything.")


def _show_created(created: CreatedKey, *, as_json: bool) -> None:
    summary, key = created.summary, created.key.text
    if as_json:
        document({"key_id": summary.key_id, "account_id": summary.account_id, "key": key})
        return
    click.echo(key)
    click.echo("\nStore it now: it can't be shown again.", err=True)


def _show(found: list[KeySummary], *, as_json: bool) -> None:
    if as_json:
        document(found)
        return
    rows = [
        (
            str(key.key_id),
            str(key.account_id),
            key.name,
            key.display_prefix + "…",
            key.status,
            ", ".join(key.models) if key.models else "all",
            "none" if key.cap_nano_usd is None else format_usd(key.cap_nano_usd),
            f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
        )
        for key in found
    ]
    table(
        ("id", "account", "name", "key", "status", "models", "cap", "expires"),
        rows,
        empty="No key yet. Create one: poindexter keys create ACCOUNT_ID",
    )
