"""`poindexter up`"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from core.principal import AccountId
from core.process.settings import Secret
from deploy.local.services.processes import Installation
from deploy.local.up import Options, run
from deploy.services import Services, ServiceSettings, open_services

__all__ = ["up"]

DEMO_ACCOUNT = "demo"


@click.command(short_help="Start the whole system on this machine.")
@click.option("--port", type=click.IntRange(1, 65535), help="Where clients reach the gateway. Default: 8080.")
@click.option("--admin-port", type=click.IntRange(1, 65535), help="Health and metrics of the gateway.")
@click.option(
    "--gateway-workers",
    type=click.IntRange(1, 64),
    default=1,
    envvar="GATEWAY_WORKERS",
    show_envvar=True,
    show_default=True,
    help="Processes of the gateway, one per core.",
)
@click.option("--no-demo", is_flag=True, help="Create no demo account.")
@click.option(
    "--state-directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".poindexter"),
    show_default=True,
    help="Where everything is kept. Several installations need one each, and a --port each.",
)
def up(port: int | None, admin_port: int | None, gateway_workers: int, no_demo: bool, state_directory: Path) -> None:
    """Start the whole system on this machine and keep it running until Ctrl-C.

    Postgres, Valkey and simulated providers come along; DATABASE_URL, REDIS_URL, OPENAI_API_KEY and ANTHROPIC_API_KEY
    in the environment replace them by real ones. Data stays in the state directory and is found again at the next
    start.
    """
    options = Options(
        port=port,
        admin_port=admin_port,
        gateway_workers=gateway_workers,
        demo=not no_demo,
        state_directory=state_directory,
    )
    sys.exit(run(options, os.environ, lambda installation: asyncio.run(_demo_key(installation))))


async def _demo_key(installation: Installation) -> str:
    settings = ServiceSettings(
        database_url=Secret(installation.database_url),
        redis_url=Secret(installation.redis_url),
        api_key_pepper=Secret(installation.pepper),
    )
    shards = os.environ.get("REDIS_SHARDS")
    async with open_services(replace(settings, redis_shards=int(shards)) if shards else settings) as services:
        await services.publication.publish_missing()
        created = await services.api_keys.create(await _demo_account(services), "demo")
        return created.key.text


async def _demo_account(services: Services) -> AccountId:
    for account in await services.accounts.list():
        if account.name == DEMO_ACCOUNT:
            return account.account_id
    return (await services.accounts.create(DEMO_ACCOUNT, "pro")).account_id
