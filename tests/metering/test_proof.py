"""
The proof in small: kill the process at each of its edges, start it again, deliver some events twice, and count.

Then the same with one guard switched off: a proof that cannot fail proves nothing.
"""

import contextlib
import random

import pytest

from core.redis.keys import shards
from core.usage.usage_event import UsageEvent
from tests.harness.waiting import until
from tests.metering.events import NOW, event, many
from tests.metering.process import metering_process
from tests.metering.workbench import SHARDS, Workbench, workbench

EDGES = [
    "after_read",
    "after_insert_before_commit",
    "after_insert_before_commit:4",
    "after_commit_before_confirm",
    "after_commit_before_confirm:4",
    "after_confirm:4",
    "sweeper_before_settle:5",
    "sweeper_after_settle",
]


@pytest.mark.parametrize("edge", EDGES)
async def test_a_process_killed_at_any_edge_loses_nothing_and_counts_nothing_twice(
    database_url: str, redis_url: str, edge: str
) -> None:
    problems = await prove(database_url, redis_url, edge)

    assert problems == []


CONFIRM_FIRST = """
from metering.ingest.consumer import Consumer, _read
from metering.ingest.stream import Settled

async def book(self, entries):
    await self._streams.confirm([Settled(entry, _read(entry, self._bounds())[0]) for entry in entries], [])
    self._failpoints.reach("after_commit_before_confirm")
    await self.record(entries)

Consumer.book = book
"""
NO_DEDUPLICATION = """
from metering.ledger import ledger

ledger.RECORD = ledger.RECORD.replace("ON CONFLICT (event_id, day) DO NOTHING", "")
"""
NO_TAKEOVER = """
from metering.ingest.stream import UsageStreams

async def claim(self, per_shard, *, idle_ms):
    return []

UsageStreams.claim = claim
"""
NO_SWEEPER = """
from metering.repair.sweeper import Sweeper

async def round(self):
    return False

Sweeper.round = round
"""
SOON, IN_TIME = 2.5, 15.0
GUARDS = {
    "commit before confirm": (CONFIRM_FIRST, "are missing", IN_TIME),
    "event id": (NO_DEDUPLICATION, "twice", IN_TIME),
    "take over from the dead": (NO_TAKEOVER, "not at rest", SOON),
    "sweeper": (NO_SWEEPER, "not at rest", SOON),
}


@pytest.mark.parametrize(("prelude", "problem", "patience"), GUARDS.values(), ids=GUARDS)
async def test_without_one_of_its_guards_the_proof_fails(
    database_url: str, redis_url: str, prelude: str, problem: str, patience: float
) -> None:
    async with workbench(database_url, redis_url) as bench:
        if prelude is NO_DEDUPLICATION:
            await bench.pool.execute("ALTER TABLE usage_events DROP CONSTRAINT usage_events_pkey")

    problems = await prove(database_url, redis_url, "after_commit_before_confirm", prelude=prelude, patience=patience)

    assert any(problem in text for text in problems), problems


async def prove(
    database_url: str, redis_url: str, edge: str, *, prelude: str = "", patience: float = IN_TIME
) -> list[str]:
    """What is wrong after the process has died at `edge` and another has done the rest."""
    async with workbench(database_url, redis_url) as bench:
        events = await load(bench)
        async with metering_process(database_url, redis_url, prelude=prelude, POINDEXTER_FAILPOINT=edge) as first:
            await until(lambda: first.exit_code is not None)
            died = first.exit_code == -9
        await bench.settle_all(random.Random(1).sample(events, 50))
        async with metering_process(database_url, redis_url, prelude=prelude) as second:
            await second.started()
            with contextlib.suppress(AssertionError):
                await until(lambda: at_rest(bench), seconds=patience)
            exit_code = await second.stop()
        problems = [] if died else [f"the first process did not die at {edge}"]
        if exit_code != 0:
            problems.append(f"the second process ended with {exit_code}")
        return problems + await problems_in(bench, events)


async def load(bench: Workbench) -> list[UsageEvent]:
    """Settled events, and reservations of a dead gateway."""
    account, keys = await bench.create_account(keys=2)
    for key in keys:
        await bench.directory.publish_key(key)  # type: ignore[arg-type]
    await bench.directory.publish_account(account)  # type: ignore[arg-type]
    ours = [event(account, keys[number % 2], cost=number) for number in range(150)]
    others = [item for item in many(150) if item.account_id != account]
    await bench.settle_all([*ours, *others])
    lost = [event(account, keys[0], cost=7, estimated="gateway_lost") for _ in range(20)]
    for item in lost:
        await bench.admit(item, cost=50, lease_ms=-5_000)
    return [*ours, *others, *lost]


async def at_rest(bench: Workbench) -> bool:
    leases = sum([await bench.redis.zcard(shard.leases) for shard in shards(SHARDS)])
    return leases == 0 and await bench.entries_left() == 0


async def problems_in(bench: Workbench, events: list[UsageEvent]) -> list[str]:
    expected = {str(item.event_id): item.cost for item in events}
    rows = await bench.pool.fetch("SELECT event_id::text, charged_nano_usd FROM usage_events")
    recorded = {row["event_id"]: row["charged_nano_usd"] for row in rows}
    problems = [] if await at_rest(bench) else ["not at rest"]
    if len(recorded) != len(rows):
        problems.append(f"{len(rows) - len(recorded)} events are there twice")
    if missing := expected.keys() - recorded.keys():
        problems.append(f"{len(missing)} events are missing")
    if recorded != expected:
        problems.append("other events or other amounts were recorded than were settled")
    differences = await bench.reconciliation.aggregate_differences(NOW.date().replace(year=NOW.year - 2, day=1))
    return problems + [str(item) for item in [*differences, *await bench.counters.check()]]
