"""
One installation and one gateway for each module that asks; tests keep apart by customers and fresh models of their own.

Modules that break Redis or Postgres take `installation`, which is a test's own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers.valkey import ValkeyServer
from tests.harness.installation import Customer, Installation
from tests.harness.models_text import FreshModels, models_text
from tests.harness.running_gateway import RunningGateway
from tests.harness.servers import Databases, emptied
from tests.harness.simulated_upstream import SimulatedUpstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatedUpstream]:
    upstream = SimulatedUpstream.start()
    yield upstream
    unexpected = upstream.unexpected()
    upstream.stop()
    assert unexpected == [], "the real provider would have refused these"


@pytest.fixture(scope="module")
def shared(
    upstream: SimulatedUpstream,
    databases: Databases,
    valkey_server: ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """The module's installation."""
    url = databases.take()
    installation = Installation(
        tmp_path_factory.mktemp("installation"),
        database_url=url,
        redis_url=emptied(valkey_server),
        models=models_text(upstream.openai_url, upstream.anthropic_url),
    )
    yield installation
    installation.close()
    databases.give_back(url)


@pytest.fixture(scope="module")
def gateway(shared: Installation) -> Iterator[RunningGateway]:
    """The module's gateway, with every setting at its default."""
    gateway = shared.start_gateway()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def fresh_models() -> FreshModels:
    return FreshModels()


@pytest.fixture
def customer(shared: Installation) -> Customer:
    return shared.customer()


@pytest.fixture
def installation(
    upstream: SimulatedUpstream, tmp_path: Path, database_url: str, redis_url: str
) -> Iterator[Installation]:
    """A test's own, to break: Redis and Postgres are brought back for the next test."""
    installation = Installation(
        tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        models=models_text(upstream.openai_url, upstream.anthropic_url),
    )
    yield installation
    installation.close()
