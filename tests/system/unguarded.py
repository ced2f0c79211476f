"""`python -m tests.system.unguarded GUARD MODULE`: a service of ours with one of its guards switched off.

Each guard has a test that shows the proof failing without it: a proof that nothing can fail proves nothing.
"""

import asyncio
import runpy
import sys
from collections.abc import Callable
from typing import Any

from core.redis import script_calls
from core.redis.lua_scripts import Call
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.record import Record
from gateway.spool.spool import Spool
from metering.ledger import ledger
from metering.repair.sweeper import Sweeper


def without_spool() -> None:
    """What Redis does not take is dropped, intents included."""

    def drop(self: Spool, record: Record) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    Spool.put = drop  # type: ignore[method-assign]
    Spool.put_all = lambda self, records: None  # type: ignore[method-assign]


def without_estimate() -> None:
    """A reservation does not say what its request owes if nobody ends it."""
    whole = script_calls.admit

    def admit(*keys: Any, **arguments: Any) -> Call:
        return whole(*keys, **{**arguments, "event": b"{}"})

    script_calls.admit = admit


def without_sweeper() -> None:
    """Nobody ends what a dead gateway has left."""

    async def nothing(self: Sweeper) -> bool:
        return False

    Sweeper.round = nothing  # type: ignore[method-assign]


def without_recent_settlements() -> None:
    """What Redis has acknowledged is taken for kept."""

    def nothing(self: RecentSettlements) -> list[Record]:
        return []

    RecentSettlements.take = nothing  # type: ignore[method-assign]


def without_replacement() -> None:
    """The first event of an id stays in the ledger, be it the sweeper's estimate."""
    ledger.REPLACE = "SELECT 0::bigint"


GUARDS: dict[str, Callable[[], None]] = {
    "spool": without_spool,
    "estimate": without_estimate,
    "sweeper": without_sweeper,
    "recent endings": without_recent_settlements,
    "replacement": without_replacement,
}

if __name__ == "__main__":
    guard, module = sys.argv[1:3]
    GUARDS[guard]()
    sys.argv[1:] = []
    runpy.run_module(module, run_name="__main__", alter_sys=True)
