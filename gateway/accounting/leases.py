"""
Long answers keep their reservations: every third of a lease, each open one is prolonged and its estimate brought up to
what has been delivered, so that the death of this process loses no count. When Redis goes away, what is under way is
written to the disk instead.
"""

import asyncio
import contextlib
from collections.abc import Callable

from gateway.accounting.reservation import Reservation

__all__ = ["Leases"]

PAUSE_AFTER = 200
"""Reservations in one turn of the loop: ten thousand at once would delay every stream."""


class Leases:
    """The open reservations of this process."""

    def __init__(self, *, lease_seconds: float) -> None:
        self._interval = lease_seconds / 3
        self._open: dict[Reservation, float] = {}
        self._lost = asyncio.Event()

    def add(self, reservation: Reservation) -> None:
        self._open[reservation] = asyncio.get_running_loop().time()

    def remove(self, reservation: Reservation) -> None:
        self._open.pop(reservation, None)

    def redis_lost(self) -> None:
        """It is unknown which of the last commands Redis has seen, and whether it comes back with what it had."""
        self._lost.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._interval
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._lost.wait()
            if self._lost.is_set():
                self._lost.clear()
                await _in_slices(lambda one: one.write_intent(), list(self._open))
            if loop.time() >= renew_at:
                renew_at = loop.time() + self._interval
                since = loop.time() - self._interval
                await _in_slices(lambda one: one.renew(), [one for one, begun in self._open.items() if begun <= since])


async def _in_slices(act: Callable[[Reservation], None], reservations: list[Reservation]) -> None:
    for number, reservation in enumerate(reservations, 1):
        act(reservation)
        if number % PAUSE_AFTER == 0:
            await asyncio.sleep(0)
