"""
What gateways share, for tests: a database, a Redis, simulated providers, a models file, customers and their usage.

    def test_something(installation: Installation) -> None:
        gateway = installation.start_gateway()
        customer = installation.customer(cap=1_000_000)
        ...
        [booked] = installation.wait_events(customer, 1)
        installation.assert_nothing_held()

No metering process runs: every usage event stays on the stream, where `events` reads it. The methods are synchronous,
also for `async def` tests: each takes a few milliseconds, `customer` some twenty.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis

from core.principal import AccountId, KeyId
from core.process.settings import Secret
from core.redis.keys import ShardKeys, shards
from core.usage.usage_event import UsageEvent
from deploy.services import Services, ServiceSettings, open_services
from portal_api.api_keys import KeyLimits
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import PATIENCE_SECONDS, eventually

PEPPER = "1:" + "5a" * 32
SHARDS = 4

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Customer:
    account_id: AccountId
    key_id: KeyId
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@dataclass(frozen=True, slots=True)
class Booked:
    """One entry of the usage stream. `charged` and `waived` are nano-dollars."""

    event: UsageEvent
    charged: int
    waived: int


class Installation:
    def __init__(self, directory: Path, *, database_url: str, redis_url: str, models: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.redis_url = redis_url
        self.spool_directory = directory / "spool"
        self.models_file = directory / "models.toml"
        self.models_file.write_text(models)
        self.redis = redis.Redis.from_url(redis_url, socket_timeout=5, socket_connect_timeout=5)
        self._gateways: list[RunningGateway] = []
        self._office_thread = ThreadPoolExecutor(1)
        self._runner: asyncio.Runner | None = None
        self._open: Services | None = None
        self._closing = AsyncExitStack()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "REDIS_SHARDS": str(SHARDS),
            "API_KEY_PEPPER": PEPPER,
            "GATEWAY_MODELS_FILE": str(self.models_file),
            "GATEWAY_SPOOL_DIRECTORY": str(self.spool_directory),
        }

    def start_gateway(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        workers: int = 1,
        redis: bool = True,
        models: str | None = None,
        preexec: Callable[[], None] | None = None,
        output: Path | None = None,
    ) -> RunningGateway:
        """`models` is the text of a models file for this gateway alone; `RunningGateway.start` explains the rest."""
        name = f"gateway-{len(self._gateways)}"
        own = dict(settings or {})
        if models is not None:
            own["GATEWAY_MODELS_FILE"] = str(self.directory / f"{name}.toml")
            Path(own["GATEWAY_MODELS_FILE"]).write_text(models)
        gateway = RunningGateway.start(
            self.settings | own,
            self.directory / f"{name}.log",
            workers=workers,
            redis=redis,
            preexec=preexec,
            output=output,
        )
        self._gateways.append(gateway)
        return gateway

    def customer(
        self, *, plan: str = "pro", cap: int | None = None, key: KeyLimits | None = None, **account: int | None
    ) -> Customer:
        """A new account with one key. `account` sets columns of its row, None for no limit at all:
        requests_per_minute, tokens_per_minute, concurrent_requests, cap_nano_usd."""

        async def create(services: Services) -> Customer:
            made = await services.accounts.create("a customer", plan, cap_nano_usd=cap)
            if account:
                columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(account, 2))
                statement = f"UPDATE accounts SET {columns}, revision = revision + 1 WHERE account_id = $1"  # noqa: S608
                await services.pool.execute(statement, made.account_id, *account.values())
                await services.publication.account(made.account_id)
            created = await services.api_keys.create(made.account_id, "a key", key)
            return Customer(made.account_id, created.summary.key_id, created.key.text)

        return self.with_services(create)

    def another_key(self, customer: Customer, key: KeyLimits | None = None) -> Customer:
        async def create(services: Services) -> Customer:
            created = await services.api_keys.create(customer.account_id, "another key", key)
            return Customer(customer.account_id, created.summary.key_id, created.key.text)

        return self.with_services(create)

    def with_services(self, work: Callable[[Services], Coroutine[Any, Any, Result]]) -> Result:
        """Do something with the portal's services, on the loop of the one thread that has them open."""
        return self._office_thread.submit(self._at_the_office, work).result(PATIENCE_SECONDS)

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        settings = ServiceSettings(
            database_url=Secret(self.database_url),
            redis_url=Secret(self.redis_url),
            redis_shards=SHARDS,
            api_key_pepper=Secret(PEPPER),
        )
        async with open_services(settings) as services:
            yield services

    def keys_of(self, customer: Customer) -> ShardKeys:
        return ShardKeys.of(customer.account_id, SHARDS)

    def account_counters(self, customer: Customer) -> dict[str, str]:
        return self._counters(self.keys_of(customer).account(customer.account_id))

    def key_counters(self, customer: Customer) -> dict[str, str]:
        return self._counters(self.keys_of(customer).key(customer.key_id))

    def spent(self, customer: Customer) -> int:
        """Nano-dollars of the account: pending and in the ledger, of every period."""
        counters = self.account_counters(customer).items()
        return sum(int(value) for name, value in counters if name.startswith(("pending:", "ledger:")))

    def events(self, customer: Customer) -> list[Booked]:
        """The account's usage events, oldest first."""
        entries: Any = self.redis.xrange(self.keys_of(customer).usage_stream)
        booked = [Booked(UsageEvent.decode(f[b"e"]), int(f[b"c"]), int(f[b"w"])) for _, f in entries]
        return [entry for entry in booked if entry.event.account_id == customer.account_id]

    def wait_events(self, customer: Customer, count: int, *, seconds: float = PATIENCE_SECONDS) -> list[Booked]:
        """The account's events as soon as there are `count`, each of another request. More are a failure."""
        eventually(lambda: len(self.events(customer)) >= count, f"{count} usage events", seconds=seconds)
        events = self.events(customer)
        assert len({entry.event.event_id for entry in events}) == len(events) == count
        return events

    def held(self) -> list[str]:
        """What is still reserved, in words."""
        found = [f"{shard.tag} has leases" for shard in shards(SHARDS) if self.redis.zcard(shard.leases)]
        found += [name.decode() for name in self.redis.scan_iter("*:reservation:*", count=10_000)]
        for kind in ("account", "key"):
            for scope in self.redis.scan_iter("{s*}:" + kind + ":*", count=10_000):
                counters = self._counters(scope.decode())
                held = {name: counters.get(name, "0") for name in ("reserved", "in_flight")}
                found += [f"{scope.decode()} {held}"] if set(held.values()) != {"0"} else []
        return found

    def assert_nothing_held(self) -> None:
        """Every reservation has ended: nothing reserved, nothing in flight, no reservation's key, no lease."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.held(), "nothing held")
        assert self.held() == []

    def close(self) -> None:
        for gateway in self._gateways:
            gateway.kill()
        self.redis.close()
        self._office_thread.submit(self._close_office).result(PATIENCE_SECONDS)
        self._office_thread.shutdown()

    def _at_the_office(self, work: Callable[[Services], Coroutine[Any, Any, Result]]) -> Result:
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._runner.run(self._open_office())
        assert self._open is not None
        return self._runner.run(work(self._open))

    async def _open_office(self) -> None:
        self._open = await self._closing.enter_async_context(self.services())

    def _close_office(self) -> None:
        if self._runner is not None:
            self._runner.run(self._closing.aclose())
            self._runner.close()

    def _counters(self, scope: str) -> dict[str, str]:
        stored: Any = self.redis.hgetall(scope)
        return {name.decode(): value.decode() for name, value in stored.items()}
