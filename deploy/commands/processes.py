"""`poindexter gateway`, `metering`, `simulators`, `migrate`: one process each, to be started apart."""

import asyncio
import os
import sys
from dataclasses import dataclass

import asyncpg
import click

from core.postgres.connections import connect_postgres
from core.postgres.installation import WrongInstallation, agree_on_shards
from core.postgres.migrations import ChangedMigration, migrate, unknown_migrations
from core.postgres.url import postgres_url
from core.process.exit_codes import WRONG_SETTINGS
from core.process.settings import Secret, SettingsError, load, setting
from deploy.printing import fail

__all__ = ["MigrationSettings", "gateway", "metering", "migrate_schema", "simulators"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSettings:
    database_url: Secret = setting(parse=postgres_url)
    redis_shards: int = setting(16, minimum=1, maximum=1024)


@click.command(short_help="Run one gateway.")
def gateway() -> None:
    """Serve the AI gateway. Settings come from the environment (docs/settings.md)."""
    _become("gateway")


@click.command(short_help="Run one metering process.")
def metering() -> None:
    """Write usage events into the ledger and sweep expired reservations. Any number may run."""
    _become("metering")


@click.command(short_help="Run simulated upstreams.", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulators(arguments: tuple[str, ...]) -> None:
    """Serve simulated OpenAI and Anthropic upstreams (docs/simulators.md). ARGUMENTS as in `--host H --port P`."""
    _become("simulators", *arguments)


@click.command("migrate", short_help="Bring the database schema up to date.")
def migrate_schema() -> None:
    """Bring the schema of DATABASE_URL up to date. Safe to run at any time, by any number of processes at once."""
    try:
        applied, unknown = asyncio.run(_migrate(load(MigrationSettings, os.environ)))
    except SettingsError as error:
        fail(f"{error}.", status=WRONG_SETTINGS)
    except WrongInstallation as error:
        fail(f"{error}.", status=WRONG_SETTINGS)
    except ChangedMigration as error:
        fail(str(error))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"The database can't be used: {type(error).__name__}: {error}")
    click.echo("\n".join(f"applied {name}" for name in applied) or "The schema is up to date.")
    if unknown:
        click.echo(
            f"A newer version has been here: it applied {', '.join(unknown)}, which this one does not know.", err=True
        )


async def _migrate(settings: MigrationSettings) -> tuple[list[str], list[str]]:
    """What was applied, and what a newer version had applied before."""
    applied = await migrate(settings.database_url)
    connection = await connect_postgres(settings.database_url, application="poindexter-migrate")
    try:
        await agree_on_shards(connection, settings.redis_shards)
        return applied, await unknown_migrations(connection)
    finally:
        await connection.close()


def _become(module: str, *arguments: str) -> None:
    """The process itself, not a parent of it: signals and exit status are the service's own."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  # Our own interpreter.
