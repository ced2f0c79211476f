"""
`poindexter up`: the whole system in the foreground, until Ctrl-C.

Postgres, Valkey, migrations, simulators, metering, gateway, a demo account with a key; then watching.
"""

import asyncio
import http
import http.client
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from core.postgres.migrations import ChangedMigration, migrate
from core.process.restart_policy import RestartPolicy
from core.process.settings import Secret, SettingsError
from deploy.local.env_file import as_env_file
from deploy.local.errors import LocalError, StateError
from deploy.local.operator_environment import without_demo
from deploy.local.servers.ports import DEFAULT_PORTS, LOOPBACK, choose_ports, require_free
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from deploy.local.services.processes import Installation, given, our_processes
from deploy.local.services.service import Service, end_leftovers
from deploy.local.services.supervisor import ForcedStop, StopRequested, StopSignals, Supervisor
from deploy.local.state import StateDirectory, write_private
from deploy.local.welcome import demo_environment, say, step, welcome
from portal_api.errors import PortalError

MEGABYTE = 1024 * 1024
DISK_NEEDED = 300 * MEGABYTE
READY_SECONDS = 60.0
KEY_CHECK_SECONDS = 5.0
INTERRUPTED = 130

CreateKey = Callable[[Installation], str]
"""Creates a demo account and returns a key of it in clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    port: int | None = None
    """None: the port of the last run, 8080 in the beginning."""
    admin_port: int | None = None
    gateway_workers: int = 1
    demo: bool = True
    state_directory: Path = Path(".poindexter")


def run(options: Options, environment: Mapping[str, str], create_key: CreateKey) -> int:
    """The exit code, when everything has stopped. `environment` is the operator's."""
    signals = StopSignals()
    supervisor = Supervisor(signals, say, RestartPolicy(max_deaths=5))
    state = StateDirectory(options.state_directory)
    try:
        state.open()
        _require_space(state.path)
        own = without_demo(environment, state.demo_settings(), state.remembered_ports())
        Launch(options, own, state, supervisor).start(create_key)
        supervisor.watch()
    except StopRequested:
        pass
    except ForcedStop:
        return INTERRUPTED
    except (LocalError, OSError) as error:
        if not signals.requested:  # A terminal's Ctrl-C ends our helpers too (initdb): that is no failure.
            say(f"\nPoindexter cannot run: {error}\n")
            return 1
    finally:
        supervisor.stop()
        state.close()
    say("Stopped.")
    return 0


class Launch:
    """One start, step by step."""

    def __init__(
        self, options: Options, environment: Mapping[str, str], state: StateDirectory, supervisor: Supervisor
    ) -> None:
        self._options = options
        self._environment = environment
        self._state = state
        self._supervisor = supervisor

    def start(self, create_key: CreateKey) -> None:
        say(f"Starting Poindexter; everything it keeps is in {self._state.path}")
        installation = self._install()
        for process in our_processes(installation, self._environment):
            service = Service(process, log=self._state.log(process.name), installation=self._state.path)
            with step(process.name, f"on {LOOPBACK}:{process.ready_port}"):
                require_free(process.name, process.ready_port)
                self._supervisor.start(service, READY_SECONDS)
        key = self._demo_key(installation, create_key)
        demo_file, logs = str(self._state.demo_environment), str(self._state.logs)
        say(welcome(installation, self._environment, demo_file, logs, key))

    def _install(self) -> Installation:
        self._end_leftovers()
        ports = self._choose_ports()
        database_url = given(self._environment, "DATABASE_URL") or self._start_postgres(ports)
        redis_url = given(self._environment, "REDIS_URL") or self._start_valkey(ports)
        self._state.remember_ports(ports)
        with step("schema", "migrations"):
            asyncio.run(_migrate(database_url, given=bool(given(self._environment, "DATABASE_URL"))))
        return Installation(
            database_url=database_url,
            redis_url=redis_url,
            pepper=given(self._environment, "API_KEY_PEPPER") or self._state.pepper(),
            ports=ports,
            gateway_workers=self._options.gateway_workers,
            spool=self._state.spool,
        )

    def _end_leftovers(self) -> None:
        """Before ports are chosen: a server of a killed run still holds its own."""
        end_leftovers(self._state.path)
        ValkeyServer(self._state.valkey_data).end_leftover()
        PostgresServer(self._state.postgres_data).end_leftover()

    def _choose_ports(self) -> dict[str, int]:
        wanted = {"gateway": self._options.port, "gateway-admin": self._options.admin_port}
        remembered = self._state.remembered_ports()
        wanted["gateway"] = wanted["gateway"] or remembered.get("gateway") or DEFAULT_PORTS["gateway"]
        return choose_ports({name: port for name, port in wanted.items() if port}, remembered)

    def _start_postgres(self, ports: dict[str, int]) -> str:
        server = PostgresServer(self._state.postgres_data, ports["postgres"], log=self._state.log("postgres"))
        with step("postgres", f"on {LOOPBACK}:{server.port}"):
            self._supervisor.start(server, READY_SECONDS)
        return server.url

    def _start_valkey(self, ports: dict[str, int]) -> str:
        server = ValkeyServer(self._state.valkey_data, ports["valkey"], log=self._state.log("valkey"))
        with step("valkey", f"on {LOOPBACK}:{server.port}"):
            self._supervisor.start(server, READY_SECONDS)
        return server.url

    def _demo_key(self, installation: Installation, create_key: CreateKey) -> str:
        """The key of the first start as long as the gateway knows it: another database needs another one."""
        file = self._state.demo_environment
        key = self._state.demo_settings().get("OPENAI_API_KEY", "")
        if self._options.demo and not _is_accepted(key, installation.ports["gateway"]):
            with step("demo account"):
                key = _created(create_key, installation)
        # Without a demo account, too: the other commands find the databases by this file.
        write_private(file, as_env_file(demo_environment(installation, key)))
        return key if self._options.demo else ""


def _created(create_key: CreateKey, installation: Installation) -> str:
    try:
        return create_key(installation)
    except (PortalError, SettingsError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StateError(f"The demo account cannot be created: {error}. `--no-demo` starts without one.") from error


async def _migrate(url: str, *, given: bool) -> None:
    try:
        await migrate(Secret(url))
    except ChangedMigration as error:
        raise StateError(f"The database was made by another version of Poindexter: {error}") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        advice = " It is the one of DATABASE_URL; without that variable a database comes along." if given else ""
        raise StateError(f"The database cannot be prepared: {type(error).__name__}: {error}.{advice}") from error


def _is_accepted(key: str, port: int) -> bool:
    if not key:
        return False
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=KEY_CHECK_SECONDS)
    try:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _require_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < DISK_NEEDED:
        raise StateError(
            f"Only {free // MEGABYTE} MB are free in {directory}, and {DISK_NEEDED // MEGABYTE} MB are needed. "
            "Free some space, or name another place with --state-directory."
        )
