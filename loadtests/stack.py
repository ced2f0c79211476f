"""
The whole data path for a benchmark: Postgres, Valkey, the mock upstream, metering, an account with every limit set, and
gateways to start and stop in front of them.
"""

import asyncio
import contextlib
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.postgres.migrations import migrate
from core.process.settings import Secret
from deploy.local.servers.child import tail
from deploy.local.servers.ports import LOOPBACK, free_port
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from deploy.local.services.service import Process, Service
from deploy.services import Services, ServiceSettings, open_services
from loadtests.cores import Cores, on_cores
from loadtests.process_usage import processes_below
from portal_api.api_keys import KeyLimits

__all__ = ["MODEL_NAMES", "Gateway", "Stack", "open_stack"]

START_SECONDS = 30.0
ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("/dev/shm")  # noqa: S108  # A fresh directory of our own below it.
"""A disk that syncs an append-only file makes Valkey wait, and would be what is measured."""
NICE = 10
"""Metering and Postgres are on other machines in production; here they step back for the data path."""
MOST_PER_MINUTE, MOST_TOKENS_PER_MINUTE, MOST_AT_ONCE = 1_000_000_000, 10**15, 1_000_000
CAP = 10**15
RAISE_LIMITS = """
    UPDATE accounts SET requests_per_minute = $2, tokens_per_minute = $3, concurrent_requests = $4,
                        revision = revision + 1
    WHERE account_id = $1
"""
MODEL_NAMES = ("mock", "mock-100x5", "mock-100x20", "mock-1000x5000")
PROVIDERS = """
[providers.mock]
schema = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-mock"

[providers.mock-anthropic]
schema = "anthropic"
base_url = "http://127.0.0.1:{port}"
api_key = "sk-mock"
"""
MODEL = """
[models."{name}"]
context_tokens = 128_000
max_output_tokens = 16_384
tokenizer = "openai"
price = {{ input = "0.25", cache_read = "0.025", output = "2.00" }}
targets = [{{ provider = "{provider}", model = "{upstream}", total_seconds = 3_600 }}]
"""


@dataclass(frozen=True, slots=True)
class Stack:
    directory: Path
    cores: Cores
    upstream_port: int
    key: str
    environment: Mapping[str, str]
    """Of every process of ours."""
    servers: Mapping[str, int]
    """The processes beside the proxy, by name."""

    @property
    def groups(self) -> dict[str, list[int]]:
        """The same with everything they have started, for `Load.watch`: their CPU time is reported apart."""
        return {name: processes_below(pid) for name, pid in self.servers.items()}

    @contextlib.contextmanager
    def gateway(self, name: str = "gateway", *, workers: int = 1, module: str = "gateway") -> "Iterator[Gateway]":
        """A running gateway on the proxy's core; several workers may use every core."""
        port, admin_port = free_port(), free_port()
        spool = self.directory / name / "spool"
        spool.mkdir(parents=True)
        process = Process(
            name=name,
            module=module,
            environment={
                **self.environment,
                "PYTHONPATH": str(ROOT),  # Installed are only the packages of the product, not `module` of this one.
                "GATEWAY_PORT": str(port),
                "GATEWAY_ADMIN_PORT": str(admin_port),
                "GATEWAY_WORKERS": str(workers),
                "GATEWAY_SPOOL_DIRECTORY": str(spool),
                "GATEWAY_MODELS_FILE": str(self.directory / "models.toml"),
                "GATEWAY_MAX_OPEN_REQUESTS": "100000",
            },
            ready_port=admin_port,
            ready_path="/readyz",
            stop_seconds=10.0,
        )
        service = Service(process, log=self.directory / f"{name}.log", installation=self.directory)
        cores = self.cores.proxy if workers == 1 else self.cores.proxy | self.cores.rest
        with on_cores(cores), _running(service, process.stop_seconds):
            yield Gateway(port, admin_port, service.pids[0], self.directory / f"{name}.log", spool)


@dataclass(frozen=True, slots=True)
class Gateway:
    port: int
    admin_port: int
    pid: int
    log: Path
    spool: Path

    @property
    def pids(self) -> list[int]:
        """The gateway and its workers."""
        return processes_below(self.pid)


@contextlib.contextmanager
def open_stack(cores: Cores, *, metering: bool = True) -> Iterator[Stack]:
    """Everything but gateways, running; all of it is gone afterwards."""
    _raise_file_limit()
    directory = Path(tempfile.mkdtemp(prefix="poindexter-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    directory.chmod(0o711)  # Postgres runs as nobody when we are root.
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        with on_cores(cores.rest):
            stack = _start(directory, cores, cleanup, metering=metering)
        yield stack


def _start(directory: Path, cores: Cores, cleanup: contextlib.ExitStack, *, metering: bool) -> Stack:
    postgres, valkey = PostgresServer(directory / "postgres"), ValkeyServer(directory / "valkey")
    for server in (postgres, valkey):
        cleanup.callback(server.stop)
        server.start()
    os.setpriority(os.PRIO_PROCESS, postgres.pids[0], NICE)
    asyncio.run(migrate(Secret(postgres.url)))
    upstream_port, upstream = cleanup.enter_context(_mock_upstream())
    (directory / "models.toml").write_text(_models(upstream_port))
    environment = {
        **os.environ,  # noqa: TID251  # What the processes inherit: PATH and the like.
        "DATABASE_URL": postgres.url,
        "REDIS_URL": valkey.url,
        "API_KEY_PEPPER": f"1:{secrets.token_hex(32)}",
    }
    key = asyncio.run(_create_key(environment))
    servers = {"upstream": upstream, "valkey": valkey.pids[0], "postgres": postgres.pids[0]}
    if metering:
        servers["metering"] = cleanup.enter_context(_metering(directory, environment))
    return Stack(directory, cores, upstream_port, key, environment, servers)


@contextlib.contextmanager
def _metering(directory: Path, environment: Mapping[str, str]) -> Iterator[int]:
    port = free_port()
    process = Process(
        name="metering",
        module="metering",
        environment={**environment, "METERING_ADMIN_PORT": str(port)},
        ready_port=port,
        ready_path="/readyz",
        stop_seconds=10.0,
    )
    service = Service(process, log=directory / "metering.log", installation=directory)
    with _running(service, process.stop_seconds):
        os.setpriority(os.PRIO_PROCESS, service.pids[0], NICE)
        yield service.pids[0]


@contextlib.contextmanager
def _running(service: Service, stop_seconds: float) -> Iterator[None]:
    service.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not service.is_ready:
            if service.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{service.name} does not start:\n{tail(service.log)}")
            time.sleep(0.05)
        yield
    finally:
        service.stop(stop_seconds)


@contextlib.contextmanager
def _mock_upstream() -> Iterator[tuple[int, int]]:
    """Its port and its process id."""
    command = [sys.executable, "-m", "loadtests.mock_upstream"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            if process.stdout is None:
                raise RuntimeError("the mock upstream has no output")
            yield int(process.stdout.readline().rpartition(":")[2]), process.pid
        finally:
            process.terminate()


async def _create_key(environment: Mapping[str, str]) -> str:
    """Every kind of limit is set, on the account and on the key, and none stands in the way."""
    settings = ServiceSettings(
        database_url=Secret(environment["DATABASE_URL"]),
        redis_url=Secret(environment["REDIS_URL"]),
        api_key_pepper=Secret(environment["API_KEY_PEPPER"]),
    )
    async with open_services(settings) as services:
        account = await services.accounts.create("bench", "pro", cap_nano_usd=CAP)
        await _raise_limits(services, account.account_id)
        limits = KeyLimits(
            models=tuple(name for name, _, _ in _routes()),
            requests_per_minute=MOST_PER_MINUTE,
            tokens_per_minute=MOST_TOKENS_PER_MINUTE,
            concurrent_requests=MOST_AT_ONCE,
            cap_nano_usd=CAP,
        )
        return (await services.api_keys.create(account.account_id, "bench", limits)).key.text


async def _raise_limits(services: Services, account_id: int) -> None:
    limits = (MOST_PER_MINUTE, MOST_TOKENS_PER_MINUTE, MOST_AT_ONCE)
    await services.pool.execute(RAISE_LIMITS, account_id, *limits)
    await services.publication.publish_missing()


def _routes() -> list[tuple[str, str, str]]:
    """Model, provider, and the provider's name of the model."""
    openai = [(name, "mock", name) for name in MODEL_NAMES]
    return [*openai, *((f"anthropic-{name}", "mock-anthropic", name) for name in MODEL_NAMES)]


def _models(port: int) -> str:
    models = (MODEL.format(name=name, provider=provider, upstream=upstream) for name, provider, upstream in _routes())
    return PROVIDERS.format(port=port, url=LOOPBACK) + "".join(models)


def _raise_file_limit() -> None:
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
