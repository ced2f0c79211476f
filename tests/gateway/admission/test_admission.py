"""
Who is admitted, and with how much: on a real Valkey, with an account that was published to it, and on a real Postgres
where Redis has to be told first.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.accounts.key_directory import KeyDirectory
from core.accounts.plans import PLANS
from core.principal import AccountId, KeyId, Principal
from core.redis.lua_scripts import Argument
from core.usage.billing_period import billing_period
from core.usage.usage_event import Outcome, UsageEvent
from deploy.local.servers.valkey import ValkeyServer
from gateway.accounting.reservation import Reservation
from gateway.admission.admission import Admission
from gateway.admission.reservation_bound import ReservationBound
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.errors import (
    AccountSuspended,
    GatewayError,
    InvalidKey,
    ModelNotAllowed,
    RateLimited,
    SpendingCapReached,
    Unavailable,
)
from gateway.store.cold_scopes import ColdScopes
from gateway.store.look_ups import LookUps
from tests.gateway.accounting.bench import LEASE_MS, Bench, bench_on
from tests.gateway.reserving import EVENT_ID, KEYS, MODEL, PERIOD, PRINCIPAL
from tests.gateway.settlements import NOW_MS, SHARDS
from tests.harness.servers import valkey
from tests.harness.waiting import until
from tests.portal_api.opened_services import opened_services

MAX_TOKENS = 100


def chat(**more: Any) -> GenerationRequest:
    document = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": MAX_TOKENS, **more}
    return parse_chat(json.dumps(document).encode())


BOUND = ReservationBound.of(chat(), MODEL)


def admission_on(bench: Bench, scopes: ColdScopes | None = None) -> Admission:
    return Admission(
        bench.pipeline,
        scopes or bench.scopes,
        bench.allowance,
        bench.settlement,
        bench.spool,
        shard_count=SHARDS,
        lease_ms=LEASE_MS,
    )


async def admit(
    admission: Admission, request: GenerationRequest | None = None, who: Principal = PRINCIPAL
) -> Reservation:
    return await admission.admit(who, request or chat(), MODEL, event_id=EVENT_ID, now_ms=NOW_MS)


@asynccontextmanager
async def trusted(directory: Path, url: str, valkey_server: ValkeyServer, **options: Any) -> AsyncIterator[Bench]:
    """Redis has admitted the key a moment ago, and is away now."""
    async with bench_on(directory, url, **options) as bench:
        bench.allowance.remember(PRINCIPAL, PERIOD, time.monotonic())
        await asyncio.to_thread(valkey_server.kill)
        await until(lambda: not bench.pipeline.connected)
        yield bench


async def test_what_is_granted_is_reserved_with_the_estimate_that_is_owed(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(account={"rpm": 10, "tpm": 100_000})

        reservation = await admit(admission_on(bench))

        async with valkey(redis_url) as client:
            held: Any = await client.hgetall(KEYS.reservation)
        account = await bench.scope(KEYS.account)
        assert (reservation.granted_output, reservation.max_output) == (MAX_TOKENS, MAX_TOKENS)
        assert (reservation.reserved_cost, int(held[b"cost"])) == (BOUND.cost, BOUND.cost)
        assert (account["reserved"], account["in_flight"]) == (str(BOUND.cost), "1")
        assert UsageEvent.decode(held[b"event"]) == reservation.estimate()
        assert (reservation.period, reservation.on_trust) == (PERIOD, False)
        assert reservation.limits is not None
        assert (reservation.limits.requests, reservation.limits.requests_left) == (10, 9)


async def test_the_output_is_limited_to_what_the_cap_can_pay(tmp_path: Path, redis_url: str) -> None:
    affordable = BOUND.input_cost + 40 * BOUND.output_cost
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(key={"cap": affordable})

        reservation = await admit(admission_on(bench))

        assert (reservation.granted_output, reservation.reserved_cost) == (40, affordable)


async def test_all_choices_of_a_request_share_what_is_granted(tmp_path: Path, redis_url: str) -> None:
    request = chat(n=3)
    bound = ReservationBound.of(request, MODEL)
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(account={"cap": bound.input_cost + 50 * bound.output_cost})

        reservation = await admit(admission_on(bench), request)

        assert (reservation.granted_output, reservation.max_output) == (50, 150)


Limits = Mapping[str, Argument]
REFUSED: dict[str, tuple[Limits, Limits, type[GatewayError], bool]] = {
    "a suspended account": ({"status": "suspended"}, {}, AccountSuspended, False),
    "a revoked key": ({}, {"status": "revoked"}, InvalidKey, False),
    "an expired key": ({}, {"expires_at": 1}, InvalidKey, False),
    "a model that the key may not use": ({}, {"models": ",other,"}, ModelNotAllowed, True),
    "requests per minute": ({"rpm": 0}, {}, RateLimited, True),
    "tokens per minute, of this request alone": ({}, {"tpm": 1}, RateLimited, True),
    "requests at once": ({}, {"concurrency": 0}, RateLimited, True),
    "the account's cap": ({"cap": 1}, {}, SpendingCapReached, False),
    "the key's cap": ({}, {"cap": 1}, SpendingCapReached, False),
}
"""The account's limits, the key's, the error, and whether the key is still served when Redis goes away."""


@pytest.mark.parametrize("case", REFUSED)
async def test_each_limit_refuses_and_takes_nothing(tmp_path: Path, redis_url: str, case: str) -> None:
    account, key, error, _ = REFUSED[case]
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(account=account, key=key)

        with pytest.raises(error):
            await admit(admission_on(bench))

        assert not await bench.reserved()
        assert (await bench.scope(KEYS.account)).get("in_flight", "0") == "0"


@pytest.mark.parametrize("case", REFUSED)
async def test_a_key_that_was_refused_for_good_is_not_served_when_redis_goes_away(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, case: str
) -> None:
    """It was admitted before. A full minute says nothing about the next outage."""
    account, key, error, served = REFUSED[case]
    async with bench_on(tmp_path, redis_url) as bench:
        admission = admission_on(bench)
        await bench.publish()
        await (await admit(admission)).release(400)
        await bench.publish(account=account, key=key)
        with pytest.raises(error):
            await admit(admission)
        await asyncio.to_thread(valkey_server.kill)
        await until(lambda: not bench.pipeline.connected)

        if served:
            assert (await admit(admission)).on_trust
        else:
            with pytest.raises(Unavailable):
                await admit(admission)


async def test_a_full_minute_counts_the_tokens_of_what_was_admitted(tmp_path: Path, redis_url: str) -> None:
    one = BOUND.input_tokens + MAX_TOKENS
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(account={"tpm": one * 3 // 2})
        await admit(admission_on(bench))

        with pytest.raises(RateLimited, match=f"{one * 3 // 2:,} tokens per minute") as refused:
            await admit(admission_on(bench))

        assert refused.value.retry_after is not None
        assert 0 < refused.value.retry_after <= 60


async def test_an_account_that_redis_does_not_know_is_published_and_asked_for_again(
    tmp_path: Path, redis_url: str, database_url: str
) -> None:
    async with opened_services(database_url, redis_url) as services, bench_on(tmp_path, redis_url) as bench:
        account = await services.accounts.create("a customer", "pro")
        key = await services.api_keys.create(account.account_id, "a key")
        who = Principal(account.account_id, key.summary.key_id)
        directory = KeyDirectory(services.pool, services.redis, shard_count=SHARDS)
        scopes = ColdScopes(bench.pipeline, directory, LookUps(seconds=10))
        await services.redis.flushall()

        reservation = await admit(admission_on(bench, scopes), who=who)

        assert not reservation.on_trust
        assert reservation.period == billing_period(datetime.now(UTC))
        assert reservation.limits is not None
        assert reservation.limits.requests == PLANS["pro"].requests_per_minute


async def test_an_account_that_nobody_knows_is_refused(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        with pytest.raises(Unavailable, match="can't be looked up"):
            await admit(admission_on(bench), who=Principal(AccountId(999), KeyId(999)))


async def test_a_key_that_was_admitted_lately_goes_on_while_neither_redis_nor_postgres_can_say(
    tmp_path: Path, redis_url: str, database_url: str
) -> None:
    async with opened_services(database_url, redis_url) as services, bench_on(tmp_path, redis_url) as bench:
        directory = KeyDirectory(services.pool, services.redis, shard_count=SHARDS)
        admission = admission_on(bench, ColdScopes(bench.pipeline, directory, LookUps(seconds=0.0)))
        await bench.publish()
        await (await admit(admission)).release(400)
        await services.redis.flushall()

        assert (await admit(admission)).on_trust
        with pytest.raises(Unavailable):
            await admit(admission, who=Principal(AccountId(999), KeyId(999)))


async def test_while_redis_is_away_a_key_is_served_within_its_allowance_and_no_further(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with trusted(tmp_path, redis_url, valkey_server, limit=BOUND.cost * 2) as bench:
        admission = admission_on(bench)

        served = [await admit(admission) for _ in range(2)]

        assert all(one.on_trust and one.limits is None for one in served)
        assert [(one.granted_output, one.reserved_cost) for one in served] == [(MAX_TOKENS, BOUND.cost)] * 2
        assert served[0].period == PERIOD
        with pytest.raises(Unavailable) as refused:
            await admit(admission)
        assert refused.value.retry_after == 2.0
        assert bench.spool.empty  # It was never sent: there is nothing to give back.


async def test_a_key_that_redis_has_not_admitted_lately_is_not_served_without_it(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with trusted(tmp_path, redis_url, valkey_server) as bench:
        with pytest.raises(Unavailable):
            await admit(admission_on(bench), who=Principal(AccountId(8), KeyId(8)))


async def test_nothing_is_served_on_trust_that_the_disk_could_not_keep(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with trusted(tmp_path, redis_url, valkey_server) as bench:
        bench.spool.healthy = False

        with pytest.raises(Unavailable):
            await admit(admission_on(bench))


async def test_a_redis_that_refuses_to_write_is_as_good_as_none(tmp_path: Path, redis_url: str) -> None:
    """Its memory is full."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        await (await admit(admission_on(bench))).release(400)
        await bench.refuse_writes()

        assert (await admit(admission_on(bench))).on_trust
        await bench.refuse_writes(refuse=False)


async def test_the_allowance_is_whole_again_when_redis_has_all_that_was_served_without_it(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with trusted(tmp_path, redis_url, valkey_server, limit=BOUND.cost) as bench:
        admission = admission_on(bench)
        ending = asyncio.ensure_future((await admit(admission)).release(502))
        await bench.spool.flush()
        await ending
        await asyncio.to_thread(valkey_server.start)
        await until(lambda: bench.pipeline.connected)
        await bench.publish()

        await admit(admission)
        while_it_waits = bench.allowance.used(PRINCIPAL)
        await bench.spool.replay()
        await admit(admission)

        assert (while_it_waits, bench.allowance.used(PRINCIPAL)) == (True, False)


async def test_what_redis_may_have_admitted_without_an_answer_is_given_back_where_it_is_refused(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url, reply_seconds=0.2, limit=0) as bench:
        await bench.publish()
        valkey_server.pause()

        with pytest.raises(Unavailable):
            await admit(admission_on(bench))
        valkey_server.resume()
        await until(lambda: bench.pipeline.connected)
        await until(bench.reserved)  # What was sent before is executed all the same.
        await bench.spool.flush()
        await bench.spool.replay()

        assert not await bench.reserved()
        [void] = await bench.recorded()
        assert (void.outcome, void.cost, void.status) == (Outcome.RELEASED, 0, 503)


async def test_what_redis_may_have_admitted_without_an_answer_goes_on_trust_where_it_may(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url, reply_seconds=0.2) as bench:
        bench.allowance.remember(PRINCIPAL, PERIOD, time.monotonic())
        valkey_server.pause()

        reservation = await admit(admission_on(bench))
        valkey_server.resume()

        assert reservation.on_trust
        assert not reservation.ended
        assert bench.spool.empty


async def test_a_client_that_leaves_while_redis_decides_gives_back_what_redis_reserves(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url, reply_seconds=30.0) as bench:
        await bench.publish()
        valkey_server.pause()
        admitting = asyncio.create_task(admit(admission_on(bench)))
        await asyncio.sleep(0)

        admitting.cancel()
        await asyncio.gather(admitting, return_exceptions=True)
        valkey_server.resume()
        await until(bench.reserved)
        await bench.spool.flush()
        await bench.spool.replay()

        assert admitting.cancelled()
        assert not await bench.reserved()
        assert (await bench.scope(KEYS.account))["in_flight"] == "0"
        assert await bench.outcomes() == [Outcome.RELEASED]


async def test_what_was_admitted_is_in_doubt_once_its_connection_is_lost(tmp_path: Path, redis_url: str) -> None:
    """It belongs to the connection on which Redis was asked, whatever happens to that one afterwards."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        reservation = await admit(admission_on(bench))
        certain = reservation.connection == bench.settlement.connection_number

        await bench.cut()

        assert (certain, reservation.connection == bench.settlement.connection_number) == (True, False)
