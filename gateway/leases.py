"""
Long answers keep their reservations: every third of a lease, each open one is prolonged and its estimate brought up to
what has been delivered, so that the death of this process loses no count.
"""

import asyncio

from gateway.reservation import Reservation
from gateway.settlement import Settlement

__all__ = ["Leases"]

PAUSE_AFTER = 200
"""Renewals in one turn of the loop: ten thousand at once would delay every stream."""


class Leases:
    def __init__(self, settlement: Settlement, *, lease_seconds: float) -> None:
        self._settlement = settlement
        self._interval = lease_seconds / 3
        self._open: dict[Reservation, float] = {}

    def add(self, reservation: Reservation) -> None:
        self._open[reservation] = asyncio.get_running_loop().time()

    def remove(self, reservation: Reservation) -> None:
        self._open.pop(reservation, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            since = asyncio.get_running_loop().time() - self._interval
            old = [reservation for reservation, begun in self._open.items() if begun <= since]
            for number, reservation in enumerate(old, 1):
                if not reservation.ended and reservation.attempt:
                    self._settlement.renew(reservation.terms, reservation.estimate())
                if number % PAUSE_AFTER == 0:
                    await asyncio.sleep(0)
