"""Run the asynchronous part of a command, and turn what a person can mend into a message."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg
import redis.exceptions

from core.postgres.installation import WrongInstallation, agree_on_shards
from core.process.exit_codes import WRONG_SETTINGS
from core.process.settings import SettingsError
from deploy.printing import fail
from deploy.services import Services, open_services, service_settings
from portal_api.errors import PortalError
from portal_api.publication import NotPublished

__all__ = ["ask", "change"]

Result = TypeVar("Result")


def ask(state_directory: Path, question: Callable[[Services], Awaitable[Result]]) -> Result:
    """The answer of the installation's services; exits with a message when it can't be had."""

    async def with_office() -> Result:
        async with open_services(service_settings(os.environ, state_directory)) as services:
            await agree_on_shards(services.pool, services.shard_count)
            return await question(services)

    try:
        return asyncio.run(with_office())
    except SettingsError as error:
        problems = "".join(f"\n  {problem}" for problem in error.problems)
        fail(
            f"This command needs an installation:{problems}\n"
            "Start one with `poindexter up`, or set these variables to use another.",
            status=WRONG_SETTINGS,
        )
    except WrongInstallation as error:
        fail(f"{error}.", status=WRONG_SETTINGS)
    except NotPublished as error:
        fail(str(error), status=os.EX_TEMPFAIL)
    except PortalError as error:
        fail(str(error))
    except asyncpg.UndefinedTableError:
        fail("The database has no schema yet. Run `poindexter migrate`.")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, redis.exceptions.RedisError) as error:
        fail(f"Postgres or Redis can't be used: {type(error).__name__}: {error}\nIs the system running?")


def change(
    state_directory: Path, make: Callable[[Services], Awaitable[Result]], show: Callable[[Result], None]
) -> None:
    """Make a change and show what was saved, also when the gateways could not be told: then the status is 75."""
    unpublished: list[NotPublished] = []

    async def make_it(services: Services) -> Result:
        try:
            return await make(services)
        except NotPublished as error:
            unpublished.append(error)
            saved: Result = error.saved
            return saved

    show(ask(state_directory, make_it))
    if unpublished:
        fail(str(unpublished[0]), status=os.EX_TEMPFAIL)
