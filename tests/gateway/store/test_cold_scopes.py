"""
What a gateway does with accounts and keys that Redis does not know, or knew in an earlier life: it asks Postgres, once
for all, within a deadline, and never takes an older state for the truth.
"""

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from core.accounts.api_key import ApiKey
from core.principal import AccountId, KeyId
from core.usage.billing_period import billing_period
from deploy.local.servers.postgres import PostgresServer
from deploy.local.servers.valkey import ValkeyServer
from loadtests.process_usage import processes_below
from tests.gateway.asking import ask, ask_all
from tests.gateway.outages import start_older, wait_distinct
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import until_elsewhere

CAP = 1_000_000
EXPENSIVE = "[[sim words=400]]"


async def book_in_the_ledger(installation: Installation, customer: Customer, *, charged: int) -> None:
    """As the metering process leaves it: a total of the account and one of the key."""
    period = billing_period(datetime.now(UTC))
    async with installation.services() as services:
        for key_id in (0, customer.key_id):
            await services.pool.execute(
                "INSERT INTO usage_periods (period, account_id, key_id, requests, estimated_requests, input_tokens,"
                " cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens,"
                " cost_nano_usd, charged_nano_usd, waived_nano_usd, version)"
                " VALUES ($1, $2, $3, 9, 0, 0, 0, 0, 0, 0, 0, $4, $4, 0, 9)",
                period,
                customer.account_id,
                key_id,
                charged,
            )


async def keep_asking(gateway: RunningGateway, customer: Customer, until_monotonic: float) -> Counter[int]:
    statuses: Counter[int] = Counter()
    while time.monotonic() < until_monotonic:
        try:
            head, _ = await ask(gateway, customer, EXPENSIVE)
        except (OSError, asyncio.IncompleteReadError):
            continue
        statuses[head.status] += 1
    return statuses


async def test_a_redis_that_comes_back_older_gives_no_cap_away_again(
    installation: Installation, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """S8: the cap was spent after the copy of the append-only file was made. No metering runs that could repair it."""
    spent, other = installation.customer(cap=CAP), installation.customer(cap=CAP * 1_000)
    gateways = [installation.start_gateway() for _ in range(2)]
    await ask_all(gateways, spent, 2)
    await ask_all(gateways, other, 2)
    before = installation.spent(spent)
    copy_of(valkey_server, tmp_path / "older")
    await until_elsewhere(lambda: all(gateway.ready()["status"] == 200 for gateway in gateways), "readiness")
    await book_in_the_ledger(installation, spent, charged=CAP)

    clients = [asyncio.create_task(keep_asking(gateways[n % 2], spent, time.monotonic() + 3)) for n in range(12)]
    await asyncio.sleep(0.5)
    valkey_server.kill()
    await asyncio.to_thread(start_older, valkey_server, tmp_path / "older")
    statuses = sum(await asyncio.gather(*clients), Counter[int]())
    others = await ask_all(gateways, other, 4)

    assert set(statuses) <= {402, 503}
    assert statuses[402] > 20
    assert installation.spent(spent) == CAP + before  # The ledger's total, and the two answers that it may not have.
    assert others == {200: 4}
    installation.assert_nothing_held()


async def test_what_was_served_without_redis_passes_no_cap_of_an_older_redis(
    installation: Installation, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """S8: it is charged when Redis is back, before anybody has repaired what that one has forgotten."""
    customer = installation.customer(cap=CAP)
    gateway = installation.start_gateway({"GATEWAY_OFFLINE_EXPOSURE_USD": "1"})
    copy_of(valkey_server, tmp_path / "older")
    await until_elsewhere(lambda: gateway.ready()["status"] == 200, "readiness")
    await ask(gateway, customer)
    await book_in_the_ledger(installation, customer, charged=CAP - 100_000)

    valkey_server.kill()
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")
    served = await ask_all([gateway], customer, 6, EXPENSIVE)
    await asyncio.to_thread(start_older, valkey_server, tmp_path / "older")
    await until_elsewhere(lambda: len(installation.events(customer)) >= 6, "all events")

    assert served == {200: 6}
    assert installation.spent(customer) == CAP
    assert sum(booked.waived for booked in installation.events(customer)) > 0
    installation.assert_nothing_held()


async def test_what_an_older_redis_still_holds_passes_no_cap(
    installation: Installation, valkey_server: ValkeyServer, tmp_path: Path
) -> None:
    """S8, by the back door: an answer is under way, its reservation in the older Redis as well. Others have used the
    room that it was promised, and only the ledger knows."""
    customer = installation.customer(cap=CAP)
    gateway = installation.start_gateway()
    asking = asyncio.create_task(ask(gateway, customer, "[[sim words=900 first_byte_ms=2500]]", max_tokens=900))
    await until_elsewhere(lambda: installation.redis.zcard(installation.keys_of(customer).leases) == 1, "a reservation")
    shutil.copytree(valkey_server.data_directory, tmp_path / "older")
    await book_in_the_ledger(installation, customer, charged=CAP - 1_000)

    valkey_server.kill()
    await asyncio.to_thread(start_older, valkey_server, tmp_path / "older")
    held = bool(installation.redis.zcard(installation.keys_of(customer).leases))
    head, _ = await asking
    await until_elsewhere(lambda: bool(installation.events(customer)), "its event")

    assert (held, head.status) == (True, 200)
    assert installation.spent(customer) <= CAP
    assert sum(booked.waived for booked in installation.events(customer)) > 0
    installation.assert_nothing_held()


def copy_of(server: ValkeyServer, directory: Path) -> None:
    """As it is now; the server goes on."""
    server.stop()
    shutil.copytree(server.data_directory, directory)
    server.start()


async def test_a_restarted_redis_with_all_it_had_is_believed_after_one_look_for_each_account(
    installation: Installation, valkey_server: ValkeyServer
) -> None:
    """B15"""
    customers = [installation.customer(cap=CAP * 1_000) for _ in range(3)]
    gateway = installation.start_gateway()
    for customer in customers:
        await ask(gateway, customer)
    valkey_server.restart()
    await until_elsewhere(lambda: gateway.ready()["status"] == 200, "readiness")

    answers = await asyncio.gather(*(ask_all([gateway], customer, 40, "Hi") for customer in customers))

    assert answers == [{200: 40}] * 3
    written = installation.redis.info("commandstats")["cmdstat_set"]["calls"]
    assert written == 3  # Whoever publishes a key sets the entry that leads to it.
    installation.assert_nothing_held()


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """No process of it runs, its connections stay open: a machine that swaps, a disk that hangs."""
    processes = processes_below(server.pids[0])
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def stranger() -> Customer:
    """A key that nobody has."""
    return Customer(AccountId(0), KeyId(0), ApiKey.generate().text)


async def test_a_frozen_postgres_keeps_no_unknown_key_waiting(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    """S10"""
    customer = installation.customer()
    gateway = installation.start_gateway()
    await ask(gateway, customer)
    await ask(gateway, stranger())  # The pool has a connection that will freeze.

    with frozen(postgres_server):
        began = time.monotonic()
        refused = [asyncio.create_task(ask(gateway, stranger())) for _ in range(60)]
        served, _ = await ask(gateway, customer)
        served_after = time.monotonic() - began
        answers = await asyncio.gather(*refused)
        waited = time.monotonic() - began
    await until_elsewhere(lambda: gateway.ready()["checks"]["postgres"] == "ok", "postgres")
    async with asyncio.timeout(10):
        afterwards, _ = await ask(gateway, stranger())
        while afterwards.status == 503:  # As its Retry-After says.
            await asyncio.sleep(int(afterwards.headers["retry-after-ms"]) / 1000)
            afterwards, _ = await ask(gateway, stranger())

    assert {head.status for head, _ in answers} == {503}
    assert all("retry-after" in head.headers for head, _ in answers)
    assert waited < 3.5
    assert (served.status, afterwards.status) == (200, 401)
    assert served_after < 1.5


async def test_a_frozen_postgres_keeps_no_cold_account_waiting(
    installation: Installation, postgres_server: PostgresServer
) -> None:
    """S10, B15: Redis was emptied. Who was admitted here lately is served on trust, everybody else comes back."""
    known, unseen = installation.customer(), installation.customer()
    gateway = installation.start_gateway()
    await ask(gateway, known)
    installation.redis.flushall()

    with frozen(postgres_server):
        began = time.monotonic()
        on_trust, refused = await asyncio.gather(
            ask_all([gateway], known, 20), asyncio.gather(*(ask(gateway, unseen) for _ in range(20)))
        )
        waited = time.monotonic() - began

    assert on_trust == {200: 20}
    assert {head.status for head, _ in refused} == {503}
    assert waited < 3.5
    await wait_distinct(installation, known, 1 + 20)  # What was emptied is handed in again.


async def test_each_time_that_redis_refuses_writes_an_account_has_its_whole_offline_allowance(
    installation: Installation,
) -> None:
    """B20: the connection never broke, so nothing but the next admission can give the allowance back."""
    customer = installation.customer()
    gateway = installation.start_gateway({"GATEWAY_OFFLINE_EXPOSURE_USD": "0.0003"})
    text = "[[sim words=200]]"
    served = []

    for _ in range(3):
        assert (await ask(gateway, customer))[0].status == 200
        await until_elsewhere(lambda: not list(installation.spool_directory.glob("*.spool")), "an empty spool")
        assert (await ask(gateway, customer))[0].status == 200
        installation.redis.config_set("maxmemory", 1)
        answers = [(await ask(gateway, customer, text, max_tokens=200))[0].status for _ in range(8)]
        installation.redis.config_set("maxmemory", 0)
        served.append(answers.count(200))

    assert served[0] > 0
    assert served == [served[0]] * 3


async def test_the_period_that_pays_is_the_one_that_the_account_names_in_redis(installation: Installation) -> None:
    """By the clock of Redis: the running period until it ends, then the next one, then Postgres is asked."""
    customer = installation.customer()
    gateway = installation.start_gateway()
    account = installation.keys_of(customer).account(customer.account_id)
    await ask(gateway, customer)
    named = installation.account_counters(customer)
    current, following = named["period"], named["next_period"]

    installation.redis.hset(account, "period_ends", 1)
    await ask(gateway, customer)
    installation.redis.hset(account, "next_period_ends", 1)
    await ask(gateway, customer)

    periods = [booked.event.period.isoformat() for booked in installation.wait_events(customer, 3)]
    assert periods == [current, following, current]
    pending = {name: value for name, value in installation.key_counters(customer).items() if name.startswith("pending")}
    assert set(pending) == {f"pending:{current}", f"pending:{following}"}


async def test_a_full_minute_takes_no_trust_from_a_key(installation: Installation, valkey_server: ValkeyServer) -> None:
    customer = installation.customer(concurrent_requests=1)
    gateway = installation.start_gateway()
    await ask(gateway, customer)
    under_way = asyncio.create_task(ask(gateway, customer, "[[sim first_byte_ms=400]]"))
    await until_elsewhere(lambda: installation.account_counters(customer)["in_flight"] == "1", "a request under way")
    refused, _ = await ask(gateway, customer)
    await under_way

    valkey_server.kill()
    await until_elsewhere(lambda: gateway.ready()["status"] == 503, "red readiness")
    served, _ = await ask(gateway, customer)

    assert (refused.status, served.status) == (429, 200)
