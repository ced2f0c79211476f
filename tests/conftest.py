"""Fixtures for everybody; tests/harness/servers.py explains them."""

import inspect
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from tests.harness import leftovers
from tests.harness.isolation import guarded, require_loopback, run_on_fresh_loop, scrub
from tests.harness.ports import free_port
from tests.harness.scheduling import ByFile, longest_first
from tests.harness.servers import Databases, emptied, enterable_directory

TEST_RUN = uuid.uuid4().hex
SERVERS = pytest.StashKey[list[PostgresServer | ValkeyServer]]()


def pytest_configure(config: pytest.Config) -> None:
    """Before any module is imported: some read their environment at import."""
    environment = os.environ  # noqa: TID251 the one place of the suite that edits it
    scrub(environment)
    environment[leftovers.MARK] = TEST_RUN
    config.stash[SERVERS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: longest_first(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """Of `-n`: whatever `--dist` says."""
    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    run_on_fresh_loop(pyfuncitem.obj, {name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(scope="session", autouse=True)
def _stay_on_this_machine() -> Iterator[None]:
    look_up = socket.getaddrinfo

    def look_up_here(host: str | bytes | None, *args: object, **options: object) -> object:
        require_loopback(host)
        return look_up(host, *args, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", look_up_here)
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_process_left_behind(pytestconfig: pytest.Config) -> Iterator[None]:
    before = leftovers.running(TEST_RUN)
    yield
    of_the_session = {pid for server in pytestconfig.stash[SERVERS] for pid in server.pids}
    forgotten = leftovers.end(leftovers.running(TEST_RUN) - before - of_the_session)
    assert not forgotten, f"this module left processes behind: {forgotten}"


@pytest.fixture(scope="session")
def _session_directory() -> Iterator[Path]:
    with enterable_directory() as directory:
        yield directory


@pytest.fixture
def server_directory() -> Iterator[Path]:
    with enterable_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def postgres_server(_session_directory: Path, pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    server = PostgresServer(_session_directory / "postgres", free_port(), fsync=False)
    pytestconfig.stash[SERVERS].append(server)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(_session_directory: Path, pytestconfig: pytest.Config) -> Iterator[ValkeyServer]:
    server = ValkeyServer(_session_directory / "valkey", free_port())
    pytestconfig.stash[SERVERS].append(server)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    return Databases(postgres_server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    url = databases.take()
    yield url
    databases.give_back(url)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    url = databases.create_empty()
    yield url
    databases.drop(url)


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    return emptied(valkey_server)
