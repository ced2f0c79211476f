"""
When to release a reservation is enough, and when something may still charge the request: on a real Valkey and a real
disk. Until now a released request was charged when the estimate of it had been recorded, or still was to be.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.models.models_file import Target
from core.process.settings import Secret
from core.redis.lua_scripts import load_script
from core.usage.usage_event import Outcome
from gateway.accounting.leases import Leases
from gateway.accounting.offline_allowance import OfflineAllowance
from gateway.accounting.reservation import Reservation
from gateway.accounting.settlement import Settlement
from gateway.spool.recent_endings import RecentEndings
from gateway.spool.spool import Spool, SpoolFailed
from gateway.store.redis_pipeline import RedisPipeline
from tests.gateway.endings import SHARDS, events
from tests.gateway.reserving import KEYS, MODEL, reservation_of
from tests.gateway.spool.test_spool import UnknownToPostgres, let_go, replay_all
from tests.harness.servers import valkey
from tests.harness.waiting import until

TARGET: Target = MODEL.targets[0]


@dataclass
class Bench:
    """What a gateway has, and one request of it."""

    url: str
    directory: Path
    pipeline: RedisPipeline
    spool: Spool
    settlement: Settlement
    leases: Leases

    async def reserve(self) -> None:
        """As `admit` leaves it."""
        async with valkey(self.url) as client:
            await client.hset(KEYS.reservation, mapping={"cost": 1, "tokens": 1, "minute": 0, "event": "estimate"})
            await client.zadd(KEYS.leases, {KEYS.event_id: 1})

    async def reserved(self) -> bool:
        async with valkey(self.url) as client:
            return bool(await client.exists(KEYS.reservation))

    def reservation(self, *, on_trust: bool = False) -> Reservation:
        connection = None if on_trust else self.pipeline.connection_number
        reservation = reservation_of(self.settlement, connection=connection)
        self.leases.add(reservation)
        return reservation

    async def cut(self) -> None:
        """Redis drops the connection; the gateway opens the next one."""
        number = self.pipeline.connection_number
        async with valkey(self.url) as client:
            await client.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: self.pipeline.connection_number > number)

    def on_the_disk(self) -> int:
        return sum(path.read_bytes().count(KEYS.event_id.encode()) for path in self.directory.glob("*.spool"))

    async def outcomes(self) -> list[Outcome]:
        """Of what is on the stream, oldest first."""
        return [event.outcome for event in await events(self.url)]

    async def die(self) -> None:
        """Another process takes over what is on the disk."""
        let_go(self.spool)
        await replay_all(self.directory, self.pipeline)


@asynccontextmanager
async def bench_on(directory: Path, url: str) -> AsyncIterator[Bench]:
    def changed(connected: bool) -> None:
        if not connected:
            settlement.redis_lost()
            leases.redis_lost()

    scripts = [load_script(name) for name in ("admit", "renew", "settle", "release")]
    pipeline = RedisPipeline(Secret(url), scripts, reply_seconds=2.0, on_change=changed)
    recent, scopes, leases = RecentEndings(pipeline), UnknownToPostgres(pipeline), Leases(lease_seconds=30)
    spool = Spool(directory, pipeline, recent, scopes, shard_count=SHARDS)
    settlement = Settlement(pipeline, spool, recent, scopes, OfflineAllowance(limit=10**9, memory=60), lease_ms=30_000)
    tasks = [asyncio.create_task(work) for work in (pipeline.run(), leases.run())]
    try:
        await until(lambda: pipeline.connected)
        yield Bench(url, directory, pipeline, spool, settlement, leases)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        let_go(spool)


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
        bench.directory.rmdir()
        bench.directory.write_text("a file where the directory should be")

        with pytest.raises(SpoolFailed):
            await flushed(bench, asyncio.create_task(reservation.dispatch(TARGET)))


async def test_the_intent_that_a_full_disk_refused_is_there_when_the_disk_is_mended(
    tmp_path: Path, redis_url: str
) -> None:
    """It was put down at a lost connection, refused, and never tried again: the process died without a trace of it."""
    async with bench_on(tmp_path, redis_url) as bench:
        reservation = bench.reservation()
        await reservation.dispatch(TARGET)
        bench.directory.rmdir()
        bench.directory.write_text("a file where the directory should be")
        await bench.cut()
        await until(lambda: bench.spool.intended(KEYS.event_id))
        await bench.spool.flush()
        refused = not bench.spool.healthy

        bench.directory.unlink()
        await bench.spool.flush()
        await bench.die()

        assert refused
        assert await bench.outcomes() == [Outcome.CUT]
