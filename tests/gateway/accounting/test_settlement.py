"""
How reservations end, on a real Valkey and a real disk: settled or released, with Redis there, away, refusing or older;
and when to release one is enough, because nothing may still charge its request.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.models.models_file import Target
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome
from deploy.local.servers.valkey import ValkeyServer
from gateway.accounting.charge import Charge
from gateway.accounting.reservation import Reservation
from gateway.records import metrics
from gateway.spool.spool import SpoolFailed
from tests.gateway.accounting.bench import LEASE_MS, Bench, bench_on
from tests.gateway.reserving import EVENT_ID, KEYS, MODEL, PERIOD, PRINCIPAL
from tests.harness.servers import valkey
from tests.harness.waiting import until

TARGET: Target = MODEL.targets[0]
USAGE = TokenUsage(input=5, output=2)
CHARGE = Charge(USAGE, "")
ANOTHER = UUID(int=EVENT_ID.int + 1)
COST = MODEL.prices.cost(USAGE, "", "")
PENDING = f"pending:{PERIOD.isoformat()}"


async def flushed(bench: Bench, intended: "asyncio.Task[None]") -> None:
    await until(lambda: not bench.spool.empty or intended.done())
    await bench.spool.flush()
    await intended


async def test_a_release_on_the_connection_that_admitted_records_nothing(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()

        await bench.reservation().release(400)

        assert not await bench.reserved()
        assert await bench.outcomes() == []


async def test_a_release_that_finds_nothing_is_void(tmp_path: Path, redis_url: str) -> None:
    """The sweeper was faster and recorded the estimate."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reservation().release(400)

        assert await bench.outcomes() == [Outcome.RELEASED]


async def on_trust(bench: Bench) -> Reservation:
    """Nobody heard the answer of `admit`: it may have run, been swept, recorded and brought back."""
    return bench.reservation(on_trust=True)


async def connection_lost(bench: Bench) -> Reservation:
    """It may have been swept and recorded, and an older Redis has brought it back."""
    reservation = bench.reservation()
    await bench.cut()
    return reservation


async def renewal_found_nothing(bench: Bench) -> Reservation:
    """It was swept and recorded, and an older Redis brings it back."""
    reservation = bench.reservation()
    await reservation.dispatch(TARGET)
    reservation.renew()
    await until(lambda: bench.spool.intended(KEYS.event_id))
    return reservation


@pytest.mark.parametrize("doubt", [on_trust, connection_lost, renewal_found_nothing])
async def test_a_release_in_doubt_is_void_whatever_redis_holds(
    tmp_path: Path, redis_url: str, doubt: Callable[[Bench], Coroutine[Any, Any, Reservation]]
) -> None:
    """To release what is there proved nothing: the estimate in the ledger stayed, and the request was charged."""
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = await doubt(bench)
        await bench.reserve()

        await reservation.release(503)

        assert not await bench.reserved()
        assert await bench.outcomes() == [Outcome.RELEASED]


async def test_what_is_released_beats_the_intent_that_outlives_its_process(tmp_path: Path, redis_url: str) -> None:
    """The intent was put down at a lost connection; Redis took the release, and the process was killed before its file
    was removed: whoever adopted the file charged the estimate."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()
        reservation = bench.reservation()
        await reservation.dispatch(TARGET)
        await bench.cut()
        await until(lambda: bench.spool.intended(KEYS.event_id))
        await bench.spool.flush()

        await reservation.release(502)
        await bench.die()

        assert Outcome.RELEASED in await bench.outcomes()


async def test_a_release_that_redis_forgets_is_void_when_it_is_back(tmp_path: Path, redis_url: str) -> None:
    """Acknowledged, and lost with the last writes: the reservation was there again, and the sweeper charged it."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()
        await bench.reservation().release(400)
        before = await bench.outcomes()

        await bench.reserve()
        await bench.cut()
        await bench.spool.flush()
        await bench.spool.replay()

        assert before == []
        assert not await bench.reserved()
        assert await bench.outcomes() == [Outcome.RELEASED]


async def test_what_is_sent_after_its_connection_was_lost_leaves_an_intent_first(
    tmp_path: Path, redis_url: str
) -> None:
    """Redis came back without the reservation, between the admission and the sending. The gateway died, and of the
    request there was no trace."""
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await bench.cut()

        await flushed(bench, asyncio.create_task(reservation.dispatch(TARGET)))
        on_the_disk = bench.on_the_disk()
        await bench.die()

        assert on_the_disk == 1
        assert await bench.outcomes() == [Outcome.CUT]


async def test_what_was_admitted_before_its_connection_was_lost_is_not_sent_without_an_intent(
    tmp_path: Path, redis_url: str
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await bench.cut()
        bench.break_disk()

        with pytest.raises(SpoolFailed):
            await flushed(bench, asyncio.create_task(reservation.dispatch(TARGET)))


async def test_the_intent_that_a_full_disk_refused_is_there_when_the_disk_is_mended(
    tmp_path: Path, redis_url: str
) -> None:
    """It was put down at a lost connection, refused, and never tried again: the process died without a trace of it."""
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await reservation.dispatch(TARGET)
        bench.break_disk()
        await bench.cut()
        await until(lambda: bench.spool.intended(KEYS.event_id))
        await bench.spool.flush()
        refused = not bench.spool.healthy

        bench.mend_disk()
        await bench.spool.flush()
        await bench.die()

        assert refused
        assert await bench.outcomes() == [Outcome.CUT]


async def test_a_settlement_gives_back_what_was_reserved_and_adds_what_was_spent(
    tmp_path: Path, redis_url: str
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        await bench.reserve(cost=COST * 3)

        await bench.reservation().settle(CHARGE, Outcome.COMPLETE)

        [event] = await bench.recorded()
        account, key = await bench.scope(KEYS.account), await bench.scope(KEYS.key)
        assert (event.usage, event.cost, event.outcome, event.estimated) == (USAGE, COST, Outcome.COMPLETE, "")
        assert not await bench.reserved()
        assert [account[name] for name in ("in_flight", "reserved", PENDING)] == ["0", "0", str(COST)]
        assert [key[name] for name in ("in_flight", "reserved", PENDING)] == ["0", "0", str(COST)]
        assert bench.spool.empty


async def test_a_settlement_is_on_its_way_before_anybody_waits_for_it(tmp_path: Path, redis_url: str) -> None:
    """Neither a hang-up nor a cancellation can stop it any more."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()

        unawaited = bench.reservation().settle(CHARGE, Outcome.COMPLETE)
        await until(bench.recorded)

        await unawaited
        assert await bench.outcomes() == [Outcome.COMPLETE]


async def test_while_redis_is_away_an_ending_waits_for_the_disk_and_is_replayed(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await asyncio.to_thread(valkey_server.kill)
        await until(lambda: not bench.pipeline.connected)

        ending = asyncio.ensure_future(reservation.settle(CHARGE, Outcome.COMPLETE))
        await asyncio.sleep(0)
        before_the_flush = ending.done()
        await bench.spool.flush()
        await ending
        on_the_disk = bench.on_the_disk()
        await asyncio.to_thread(valkey_server.start)
        await until(lambda: bench.pipeline.connected)
        await bench.spool.replay()

        assert (before_the_flush, on_the_disk) == (False, 1)
        assert await bench.outcomes() == [Outcome.COMPLETE]


@pytest.mark.parametrize("way", ["settle", "release"])
async def test_an_ending_that_redis_refuses_waits_until_redis_takes_it(
    tmp_path: Path, redis_url: str, way: str
) -> None:
    """Its memory is full. Nobody is told an error for that."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()
        await bench.refuse_writes()
        reservation = bench.reservation()
        ends = reservation.settle(CHARGE, Outcome.COMPLETE) if way == "settle" else reservation.release(502)
        ending = asyncio.ensure_future(ends)
        await until(lambda: not bench.spool.empty)
        await bench.spool.flush()
        await ending

        await bench.refuse_writes(refuse=False)
        await bench.spool.replay()

        assert not await bench.reserved()
        assert await bench.outcomes() == [Outcome.COMPLETE if way == "settle" else Outcome.RELEASED]


async def test_an_ending_whose_answer_nobody_waits_for_any_more_is_spooled_as_well(
    tmp_path: Path, redis_url: str
) -> None:
    """Its command is out and its answer unknown: a copy too many is dropped by the ledger, one too few is lost."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        ending = asyncio.ensure_future(bench.reservation().settle(CHARGE, Outcome.COMPLETE))
        await asyncio.sleep(0)

        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await bench.spool.flush()
        await bench.spool.replay()

        copies = await bench.recorded()
        assert ending.cancelled()
        assert {(copy.event_id, copy.cost) for copy in copies} == {(copies[0].event_id, COST)}
        assert len(copies) == 2


async def test_an_answer_that_never_comes_sends_the_ending_to_the_disk(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url, reply_seconds=0.2) as bench:
        reservation = bench.reservation()
        valkey_server.pause()

        ending = asyncio.ensure_future(reservation.settle(CHARGE, Outcome.COMPLETE))
        await until(lambda: not bench.spool.empty)
        await bench.spool.flush()
        await ending
        valkey_server.resume()

        assert bench.on_the_disk() == 1


async def test_what_an_unknown_account_owes_is_recorded_all_the_same(tmp_path: Path, redis_url: str) -> None:
    """It was deleted, or belongs to another installation: there is no cap to keep, and an event to keep."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reservation().settle(CHARGE, Outcome.COMPLETE)

        assert await bench.outcomes() == [Outcome.COMPLETE]


async def test_a_redis_that_was_emptied_on_this_very_connection_gets_the_last_endings_again(
    tmp_path: Path, redis_url: str
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        await bench.reservation().settle(CHARGE, Outcome.COMPLETE)
        async with valkey(redis_url) as client:
            await client.flushall()

        second = bench.reservation(event_id=ANOTHER)
        await second.settle(CHARGE, Outcome.COMPLETE)
        await bench.spool.flush()
        await bench.spool.replay()

        assert len({event.event_id for event in await bench.recorded()}) == 2


async def test_what_passes_a_cap_is_waived_and_counted(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish(account={"cap": COST - 3})
        before = counted(metrics.WAIVED)

        await bench.reservation().settle(CHARGE, Outcome.COMPLETE)

        assert (await bench.scope())[PENDING] == str(COST - 3)
        assert counted(metrics.WAIVED) - before == 3


async def test_tokens_endings_and_reports_that_cannot_be_true_are_counted(tmp_path: Path, redis_url: str) -> None:
    flaw = "output_exceeds_grant"
    series = (
        metrics.TOKENS.labels(MODEL.name, "input"),
        metrics.TOKENS.labels(MODEL.name, "output"),
        metrics.ESTIMATED.labels(flaw),
        metrics.FLAWED_REPORTS,
        metrics.SETTLEMENTS.labels(Outcome.COMPLETE),
        metrics.SETTLEMENTS.labels(Outcome.RELEASED),
    )
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.publish()
        await bench.reserve()
        before = [counted(one) for one in series]

        await bench.reservation().settle(Charge(USAGE, flaw), Outcome.COMPLETE)
        await bench.reservation().release(502)

        assert [counted(one) - then for one, then in zip(series, before, strict=True)] == [5, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("way", ["settle", "release"])
async def test_what_was_served_on_trust_takes_from_the_allowance_only_what_it_cost(
    tmp_path: Path, redis_url: str, way: str
) -> None:
    """Ten nano-dollars were taken for it."""
    async with bench_on(tmp_path, redis_url, limit=COST + 10) as bench:
        bench.allowance.remember(PRINCIPAL, PERIOD, now=0)
        bench.allowance.admit(PRINCIPAL, 10, now=0)
        reservation = bench.reservation(on_trust=True)

        await (reservation.settle(CHARGE, Outcome.COMPLETE) if way == "settle" else reservation.release(502))

        left = 10 if way == "settle" else COST + 10
        assert bench.allowance.admit(PRINCIPAL, left + 1, now=0) is None
        assert bench.allowance.admit(PRINCIPAL, left, now=0) == PERIOD


async def test_what_is_given_back_is_void_and_nobody_waits_for_it(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()

        bench.reservation(on_trust=True).give_back(503)
        await bench.spool.flush()
        await bench.spool.replay()

        assert not await bench.reserved()
        assert await bench.outcomes() == [Outcome.RELEASED]


async def test_a_renewal_prolongs_the_lease_and_brings_the_estimate_up_to_date(tmp_path: Path, redis_url: str) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()
        reservation = bench.reservation()

        reservation.renew()
        await bench.pipeline.command("PING")

        async with valkey(redis_url) as client:
            (seconds, _), ends = await client.time(), await client.zscore(KEYS.leases, KEYS.event_id)
            estimate = await client.hget(KEYS.reservation, "event")
        assert ends is not None
        assert abs(ends - seconds * 1000 - LEASE_MS) < 10_000
        assert estimate == reservation.estimate().encode()
        assert not bench.spool.intended(KEYS.event_id)


async def test_a_renewal_that_redis_refuses_leaves_an_intent(tmp_path: Path, redis_url: str) -> None:
    """Nothing in Redis says then what the request owes."""
    async with bench_on(tmp_path, redis_url) as bench:
        await bench.reserve()
        reservation = bench.reservation()
        await reservation.dispatch(TARGET)
        await bench.refuse_writes()

        reservation.renew()

        await until(lambda: bench.spool.intended(KEYS.event_id))


async def test_a_renewal_while_redis_is_away_is_no_error(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await asyncio.to_thread(valkey_server.kill)
        await until(lambda: reservation.needs_intent)

        reservation.renew()

        assert bench.settlement.connection_number == 0


def counted(series: Any) -> float:
    metrics.TALLIES.flush()
    return float(series._value.get())
