"""Open reservations are renewed, and write their intents, in slices, so that no stream waits for 10,000 others."""

import asyncio
from typing import Any, cast

from gateway.accounting import leases as leases_module
from gateway.accounting.leases import Leases
from gateway.accounting.reservation import Reservation
from tests.harness.waiting import until


class Noted(Reservation):
    """What was asked of a reservation, and nothing else of it."""

    def __init__(self, calls: list[str]) -> None:
        self._calls = calls

    def write_intent(self) -> None:
        self._calls.append("intent")

    def renew(self) -> None:
        self._calls.append("renewed")


async def test_ten_thousand_open_requests_write_their_intents_in_slices() -> None:
    """B19: losing Redis used to stop every stream for 0.2 s."""
    leases, calls = Leases(lease_seconds=30), cast(list[str], [])
    for _ in range(10_000):
        leases.add(Noted(calls))
    task = asyncio.create_task(leases.run())
    await asyncio.sleep(0)

    leases.redis_lost()
    slices: list[int] = []
    before = len(calls)
    async with asyncio.timeout(10):
        while len(calls) < 10_000:
            await asyncio.sleep(0)
            slices.append(len(calls) - before)
            before = len(calls)
    await cancelled(task)

    assert max(slices) <= leases_module.PAUSE_AFTER
    assert set(calls) == {"intent"}


async def test_long_answers_are_renewed_and_write_intents_whenever_redis_is_lost() -> None:
    leases, calls = Leases(lease_seconds=0.15), cast(list[str], [])
    leases.add(Noted(calls))
    task = asyncio.create_task(leases.run())

    await until(lambda: calls.count("renewed") == 2)
    leases.redis_lost()
    await until(lambda: "intent" in calls)
    renewed = calls.count("renewed")
    await until(lambda: calls.count("renewed") > renewed)
    await cancelled(task)


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
