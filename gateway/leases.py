"""
Long answers keep their reservations: every third of a lease, each open one is prolonged and its estimate brought up to
what has been delivered, so that the death of this process loses no count. When Redis goes away, what is under way is
put down on the disk instead.
"""

import asyncio

from gateway.reservation import Reservation

__all__ = ["Leases"]

PAUSE_AFTER = 200
"""Renewals in one turn of the loop: ten thousand at once would delay every stream."""


class Leases:
    """The open reservations of this process."""

    def __init__(self, *, lease_seconds: float) -> None:
        self._interval = lease_seconds / 3
        self._open: dict[Reservation, float] = {}

    def add(self, reservation: Reservation) -> None:
        self._open[reservation] = asyncio.get_running_loop().time()

    def remove(self, reservation: Reservation) -> None:
        self._open.pop(reservation, None)

    def redis_lost(self) -> None:
        """Nobody knows which of the last commands Redis has seen, nor whether it comes back with what it had."""
        for reservation in self._open:
            reservation.put_down()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            since = asyncio.get_running_loop().time() - self._interval
            old = [reservation for reservation, begun in self._open.items() if begun <= since]
            for number, reservation in enumerate(old, 1):
                reservation.renew()
                if number % PAUSE_AFTER == 0:
                    await asyncio.sleep(0)
