"""Run the asynchronous part of a command, and turn what a person can mend into a message."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import redis.exceptions

from core.migrations import ChangedMigration
from core.settings import SettingsError
from deploy.office import Office, OfficeSettings, office_settings, open_office
from deploy.printing import fail
from portal_api.errors import PortalError

__all__ = ["EX_CONFIG", "ask", "settings_or_fail"]

Result = TypeVar("Result")

EX_CONFIG = 78


def settings_or_fail(state_directory: Path) -> OfficeSettings:
    try:
        return office_settings(os.environ, state_directory)
    except SettingsError as error:
        problems = "".join(f"\n  {problem}" for problem in error.problems)
        fail(
            f"This command needs an installation:{problems}\n"
            "Start one with `poindexter up`, or set these variables to use another.",
            status=EX_CONFIG,
        )


def ask(state_directory: Path, question: Callable[[Office], Awaitable[Result]]) -> Result:
    """The answer of the installation's services; exits with a message when it can't be had."""

    async def with_office() -> Result:
        async with open_office(settings_or_fail(state_directory)) as office:
            return await question(office)

    try:
        return asyncio.run(with_office())
    except (PortalError, ChangedMigration) as error:
        fail(str(error))
    except asyncpg.UndefinedTableError:
        fail("The database has no schema yet. Run `poindexter migrate`.")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, redis.exceptions.RedisError) as error:
        fail(f"Postgres or Redis can't be used: {type(error).__name__}: {error}\nIs the system running?")
