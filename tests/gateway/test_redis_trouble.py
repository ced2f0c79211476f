"""Redis or Postgres away, frozen, emptied or full: everybody has an answer in time, every event is there in the end."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime

import pytest

from core.usage.billing_period import billing_period
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from tests.gateway.asking import ask, ask_all
from tests.gateway.outages import (
    HASTY,
    MODELS,
    SLOW,
    break_the_spool,
    distinct_events,
    everything_served_is_booked,
    spooled,
    stream,
    wait_distinct,
)
from tests.gateway.wire import CONTENT, chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere


async def test_a_gateway_that_starts_before_redis_refuses_and_then_counts_globally(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """F28, F74"""
    customer = installation.customer(concurrent_requests=3)
    valkey_server.stop()
    gateways = [installation.start_gateway(redis=False) for _ in range(2)]

    refused, body = await ask(gateways[0], customer)
    status = gateways[0].ready()["status"]
    valkey_server.start()
    await until_elsewhere(lambda: all(gateway.ready()["status"] == 200 for gateway in gateways), "readiness")
    statuses = await ask_all(gateways, customer, 8, "[[sim first_byte_ms=600]]")

    assert (refused.status, body["error"]["code"], status) == (503, "service_unavailable", 503)
    assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000
    assert statuses == {200: 3, 429: 5}
    installation.assert_nothing_held()


async def test_an_emptied_redis_is_filled_again_by_the_requests_it_refuses(installation: Installation) -> None:
    customer = installation.customer()
    gateways = [installation.start_gateway() for _ in range(2)]
    statuses: Counter[int] = Counter()

    async def keep_asking(gateway: RunningGateway) -> None:
        for _ in range(15):
            head, _ = await ask(gateway, customer, "[[sim first_byte_ms=5]]")
            statuses[head.status] += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(keep_asking(gateways[number % 2]))
        await until_elsewhere(lambda: statuses.total() > 30, "requests")
        installation.redis.flushall()

    assert statuses == {200: 150}
    assert installation.account_counters(customer)["status"] == "active"
    installation.assert_nothing_held()


async def test_a_cold_account_is_filled_from_the_ledger_once_whoever_asks(installation: Installation) -> None:
    """F64, F65: twenty requests on two gateways meet an account that Redis has never heard of."""
    customer = installation.customer(cap=1_000_000)
    await book_in_the_ledger(installation, customer, charged=900_000, requests=7)
    gateways = [installation.start_gateway() for _ in range(2)]
    installation.redis.flushall()

    statuses = await ask_all(gateways, customer, 20)

    period = billing_period(datetime.now(UTC))
    counters = installation.account_counters(customer)
    assert (counters[f"ledger:{period}"], counters[f"ledger_version:{period}"]) == ("900000", "7")
    assert installation.spent(customer) <= 1_000_000
    assert set(statuses) <= {200, 402}
    installation.assert_nothing_held()


async def book_in_the_ledger(installation: Installation, customer: Customer, *, charged: int, requests: int) -> None:
    """As the metering process leaves it: a total of the account and one of the key."""
    async with installation.services() as services:
        for key_id in (0, customer.key_id):
            await services.pool.execute(
                "INSERT INTO usage_periods VALUES ($2, $1, $3, $5, 0, 0, 0, 0, 0, 0, 0, $4, $4, 0, $4, 0, $5)",
                customer.account_id,
                billing_period(datetime.now(UTC)),
                key_id,
                charged,
                requests,
            )


async def test_a_frozen_redis_delays_nobody_for_long_and_loses_nothing(
    installation: Installation, upstream: SimulatedUpstream, valkey_server: ValkeyServer
) -> None:
    """F50"""
    known, stranger = installation.customer(), installation.customer()
    gateway = installation.start_gateway(HASTY)
    await ask(gateway, known)

    valkey_server.pause()
    began = time.monotonic()
    statuses = await ask_all([gateway], known, 20)
    first_wave = time.monotonic() - began
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")
    began = time.monotonic()
    second = await ask_all([gateway], known, 20)
    refused, _ = await ask(gateway, stranger)
    second_wave = time.monotonic() - began
    alive = gateway.healthy()
    valkey_server.resume()
    await until_elsewhere(lambda: gateway.ready()["status"] == 200, "readiness")

    assert (statuses, second, refused.status, alive) == ({200: 20}, {200: 20}, 503, True)
    assert first_wave < 3.0  # A time-out at admission and one at settlement, each 0.3 s.
    assert second_wave < 3.0
    await wait_distinct(installation, known, 41)
    assert everything_served_is_booked(installation, upstream, known)
    installation.assert_nothing_held()


async def test_streams_outlive_redis_and_are_booked_when_it_is_back(
    installation: Installation, upstream: SimulatedUpstream, valkey_server: ValkeyServer
) -> None:
    customer = installation.customer()
    gateway = installation.start_gateway(HASTY)
    text = "[[sim words=60 pause_ms=15]]"
    streams = [asyncio.create_task(stream(gateway, customer, text, MODELS[n % 2])) for n in range(10)]
    await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 10, "streams")

    valkey_server.kill()
    bodies = await asyncio.gather(*streams)
    spooled = list(installation.spool_directory.glob("*.spool"))
    valkey_server.start()
    await wait_distinct(installation, customer, 10)

    assert [body.count(CONTENT) >= 60 for body in bodies] == [True] * 10
    assert len(spooled) >= 1
    assert everything_served_is_booked(installation, upstream, customer)
    await until_elsewhere(lambda: not list(installation.spool_directory.glob("*.spool")), "an empty spool")
    installation.assert_nothing_held()


async def test_without_redis_an_account_can_spend_its_exposure_and_no_more(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """Product decision 8"""
    limit = 200_000
    customer = installation.customer()
    gateway = installation.start_gateway({**HASTY, "GATEWAY_OFFLINE_EXPOSURE_USD": "0.0002"})
    text = "[[sim words=20]]"
    await ask(gateway, customer, text, max_tokens=20)
    valkey_server.kill()
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")

    answers = await asyncio.gather(*(ask(gateway, customer, text, max_tokens=20) for _ in range(40)))
    served = sum(head.status == 200 for head, _ in answers)
    refused = next(head for head, _ in answers if head.status == 503)
    valkey_server.start()
    await wait_distinct(installation, customer, served + 1)

    costs = [event.cost for event in distinct_events(installation, customer).values()]
    assert 1 <= served < 40
    assert sum(costs) - costs[0] <= limit
    assert "retry-after" in refused.headers
    installation.assert_nothing_held()


async def test_with_no_exposure_nothing_is_served_on_trust(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    customer = installation.customer()
    gateway = installation.start_gateway({**HASTY, "GATEWAY_OFFLINE_EXPOSURE_USD": "0"})
    await ask(gateway, customer)
    valkey_server.kill()

    statuses = await ask_all([gateway], customer, 5)

    assert statuses == {503: 5}


async def test_a_refused_key_is_not_trusted_while_redis_is_away(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """F36: it was served a moment ago, but the last thing Redis said of it was no."""
    customer = installation.customer()
    gateway = installation.start_gateway(HASTY)
    await ask(gateway, customer)
    installation.with_services(lambda services: services.api_keys.revoke(customer.key_id))
    revoked, _ = await ask(gateway, customer)

    valkey_server.kill()
    away, _ = await ask(gateway, customer)

    assert (revoked.status, away.status) == (401, 503)


async def test_the_spool_of_a_killed_gateway_is_adopted_by_the_next(
    installation: Installation, upstream: SimulatedUpstream, valkey_server: ValkeyServer
) -> None:
    customer = installation.customer()
    first = installation.start_gateway(HASTY)
    await ask(first, customer)
    valkey_server.kill()
    await until_elsewhere(lambda: first.ready()["status"] == 503, "red readiness")
    assert await ask_all([first], customer, 5) == {200: 5}
    await until_elsewhere(lambda: spooled(installation) == 11, "the one before, 5 intents, 5 endings on disk")
    first.kill()

    second = installation.start_gateway(redis=False)
    valkey_server.start()
    await wait_distinct(installation, customer, 6)

    assert everything_served_is_booked(installation, upstream, customer)
    await until_elsewhere(lambda: not list(installation.spool_directory.glob("*.spool")), "an empty spool")
    installation.assert_nothing_held()
    assert second.stop() == 0


async def test_a_gateway_that_stops_without_redis_leaves_its_endings_on_the_disk(
    installation: Installation, upstream: SimulatedUpstream, valkey_server: ValkeyServer
) -> None:
    customer = installation.customer()
    first = installation.start_gateway({**HASTY, "GATEWAY_SHUTDOWN_SECONDS": "1"})
    await ask(first, customer)
    under_way = asyncio.create_task(ask(first, customer, "[[sim first_byte_ms=30000]]"))
    await until_elsewhere(lambda: first.metric("poindexter_open_requests") == 1, "open request")
    valkey_server.kill()
    await until_elsewhere(lambda: first.ready()["status"] == 503, "red readiness")
    await ask(first, customer)

    status = await asyncio.to_thread(first.stop)
    cut, body = await under_way
    valkey_server.start()
    second = installation.start_gateway()
    await wait_distinct(installation, customer, 3)

    assert (status, cut.status, body["error"]["code"]) == (0, 503, "overloaded")
    installation.assert_nothing_held()
    assert second.stop() == 0


async def test_without_redis_and_without_a_spool_nothing_is_served(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """F8: never an answer without a durable event."""
    customer = installation.customer()
    gateway = installation.start_gateway(HASTY)
    await ask(gateway, customer)
    break_the_spool(installation)
    valkey_server.kill()
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")

    began = time.monotonic()
    statuses = await ask_all([gateway], customer, 5)
    again = await ask_all([gateway], customer, 5)

    assert time.monotonic() - began < 6
    assert (set(statuses), again) == ({503}, {503: 5})
    assert gateway.metric("poindexter_spool_failures_total") >= 1


async def test_a_redis_without_memory_refuses_endings_which_wait_until_it_has_some(
    installation: Installation, upstream: SimulatedUpstream
) -> None:
    customer = installation.customer()
    gateway = installation.start_gateway()
    under_way = [
        asyncio.create_task(stream(gateway, customer, "[[sim words=30 pause_ms=20]]", "gpt-4o-mini")) for _ in range(5)
    ]
    await until_elsewhere(lambda: gateway.metric("poindexter_open_requests") == 5, "streams")

    installation.redis.config_set("maxmemory", 1)
    await asyncio.gather(*under_way)
    during = await ask_all([gateway], customer, 3)
    installation.redis.config_set("maxmemory", 0)
    await wait_distinct(installation, customer, 8)

    assert during == {200: 3}
    assert everything_served_is_booked(installation, upstream, customer)
    installation.assert_nothing_held()


@pytest.mark.parametrize("refusal", ["no memory", "read-only"])
async def test_a_gateway_killed_while_redis_refuses_writes_leaves_a_record_of_every_stream(
    installation: Installation, valkey_server: ValkeyServer, refusal: str
) -> None:
    """S3, B1: connected to Redis all the time, so nothing says "away"; the requests are admitted on trust."""
    customer = installation.customer()
    first = installation.start_gateway()
    await ask(first, customer)

    with refusing_writes(installation, refusal):
        async with AsyncExitStack() as clients:
            for number in range(12):
                client = await clients.enter_async_context(wire(first.port))
                await client.send(chat(customer, SLOW, model=MODELS[number % 2], stream=True))
                await client.head()
                await client.read_past(CONTENT)
            first.kill()
    second = installation.start_gateway()
    await wait_distinct(installation, customer, 13)

    lost = list(distinct_events(installation, customer).values())[1:]
    assert {(event.estimated, event.usage.input > 0) for event in lost} == {("gateway_lost", True)}
    await until_elsewhere(lambda: not list(installation.spool_directory.glob("*.spool")), "an empty spool")
    installation.assert_nothing_held()
    assert second.stop() == 0


@contextmanager
def refusing_writes(installation: Installation, how: str) -> Iterator[None]:
    """Redis answers, and takes nothing."""
    if how == "no memory":
        installation.redis.config_set("maxmemory", 1)
        yield
        installation.redis.config_set("maxmemory", 0)
    else:
        installation.redis.replicaof("127.0.0.1", "1")
        yield
        installation.redis.replicaof("NO", "ONE")


async def test_an_outage_of_redis_does_not_flood_the_log(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """F51"""
    customer = installation.customer()
    gateway = installation.start_gateway(HASTY)
    await ask(gateway, customer)
    valkey_server.kill()

    await ask_all([gateway], customer, 200)

    complaints = [line for line in gateway.log_lines() if line["level"] in ("warning", "error", "critical")]
    assert len(complaints) < 20


async def test_without_postgres_known_keys_are_served_and_strangers_come_back_later(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    known, stranger = installation.customer(), installation.customer()
    gateway = installation.start_gateway()
    await ask(gateway, known)
    digest_entries = list(installation.redis.scan_iter("key:*"))
    installation.redis.delete(*digest_entries)

    postgres_server.kill()
    served, _ = await ask(gateway, known)
    refused, body = await ask(gateway, stranger)
    ready = gateway.ready()

    assert (served.status, refused.status, body["error"]["code"]) == (200, 503, "service_unavailable")
    assert "retry-after" in refused.headers
    assert (ready["status"], ready["checks"]["redis"]) == (200, "ok")
    assert ready["checks"]["postgres"] != "ok"


async def test_a_gateway_starts_without_postgres(installation: Installation, postgres_server: PostgresServer) -> None:
    """F74"""
    customer = installation.customer()
    postgres_server.kill()

    gateway = installation.start_gateway()
    head, _ = await ask(gateway, customer)

    assert head.status == 200
