"""
The proof: kill -9 anything at any time under mixed load, then count. `python -m tests.system.chaos --minutes 10`

Afterwards the upstreams' own record, the ledger, its aggregates, the gateways' counters and what the clients saw must
agree: nothing lost, nothing twice, no cap passed. The seed is printed; `--seed` replays its choices.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.usage.money import NANO_PER_USD
from tests.harness.servers import enterable_directory
from tests.system.disturbances import disturb, every_disturbance
from tests.system.load import Load, Seen
from tests.system.world import SERVICES, World, Wrap

UNDER_LOAD_ANSWERS, UNDER_LOAD_SECONDS = 20, 30.0
LARGE_CAP = 1_000 * NANO_PER_USD
SMALL_CAP = NANO_PER_USD // 50
"""Two cents: reached within the run, so that refusals and clamped answers are part of it."""

DISTURBED = 0.15
"""Share of the troubles that are no kill: some take several times as long."""
VICTIMS = ("valkey", "postgres", *SERVICES)

LOST = "SELECT event_id::text AS id FROM usage_events WHERE estimated = 'gateway_lost'"
SEEN_TOKENS = """
    SELECT event_id::text AS id,
           input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens AS prompt,
           output_tokens + reasoning_tokens AS completion, estimated
    FROM usage_events WHERE event_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Report:
    seed: int
    kills: int
    seen: Seen
    problems: list[str]

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.kills} kills, {len(self.seen.complete)} complete answers, "
            f"{self.seen.refused} refused, {self.seen.broken} broken off, {self.seen.hung_up} hung up"
        ]
        return "\n".join(lines + [f"  {problem}" for problem in self.problems[:50]])


@dataclass(frozen=True, slots=True)
class Kill:
    """After `wait` seconds of load, kill `victim` and start it again `pause` seconds later."""

    wait: float
    victim: str
    pause: float


@dataclass(frozen=True, slots=True)
class Disturbance:
    """After `wait` seconds of load, one of `disturbances`."""

    wait: float
    name: str


Trouble = Kill | Disturbance


def random_kills(dice: random.Random) -> Iterator[Trouble]:
    """Without end."""
    while True:
        wait = dice.uniform(0.3, 1.5)
        if dice.random() < DISTURBED:
            yield Disturbance(wait, dice.choice(every_disturbance()))
        else:
            yield Kill(wait, dice.choice(VICTIMS), dice.choice((0.0, 0.1, 0.6)))


def run(
    directory: Path,
    *,
    seed: int,
    seconds: float,
    kills: Iterable[Trouble],
    wrap: Wrap | None = None,
    rest_seconds: float = 60.0,
) -> Report:
    """One storm of at most `seconds` (as many of the `kills` as fit in), and its count."""
    world = World(directory, wrap=wrap)
    try:
        customers = [world.installation.customer(cap=LARGE_CAP) for _ in range(2)]
        customers.append(world.installation.customer(cap=SMALL_CAP))
        load = Load(world, customers, seed)
        asyncio.run(_storm(world, load, kills, seconds))
        problems = [f"not at rest: {left}" for left in world.come_to_rest(rest_seconds)]
        problems += world.differences()
        problems += _unlike_what_clients_saw(world, load.seen)
        if not world.gateway_died:
            problems += [f"answer {lost}: its gateway lived, the ledger keeps the estimate" for lost in _lost(world)]
        return Report(seed, world.kills, load.seen, problems)
    finally:
        world.close()


async def _storm(world: World, load: Load, kills: Iterable[Trouble], seconds: float) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(stop))
        async with asyncio.timeout(UNDER_LOAD_SECONDS):
            await load.answered(UNDER_LOAD_ANSWERS)  # Trouble before that would meet no request.
        end = time.monotonic() + seconds
        for kill in kills:
            if time.monotonic() + kill.wait > end:
                break
            await asyncio.sleep(kill.wait)
            if isinstance(kill, Disturbance):
                await asyncio.to_thread(disturb, world, kill.name)
            else:
                await asyncio.to_thread(world.kill, kill.victim, kill.pause)
        await asyncio.sleep(max(0.0, min(1.0, end - time.monotonic())))  # Some load on what has come back last.
        stop.set()


def _lost(world: World) -> list[str]:
    return [row["id"] for row in world.ask(lambda services: services.pool.fetch(LOST))]


def _unlike_what_clients_saw(world: World, seen: Seen) -> list[str]:
    """A complete answer that a client has in hand is in the ledger, and what it was told it used is what it pays."""
    rows = world.ask(lambda services: services.pool.fetch(SEEN_TOKENS, list(seen.complete)))
    ledger = {row["id"]: row for row in rows}
    problems = []
    for request_id, (prompt, completion) in seen.complete.items():
        row = ledger.get(request_id)
        if row is None:
            problems.append(f"answer {request_id}: a client has it, the ledger does not")
        elif row["estimated"] == "gateway_lost":
            problems.append(f"answer {request_id}: a client has it whole, the ledger keeps the sweeper's estimate")
        elif not row["estimated"] and (row["prompt"], row["completion"]) != (prompt, completion):
            problems.append(
                f"answer {request_id}: the client was told {prompt}/{completion}, the ledger says otherwise"
            )
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.splitlines()[1])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--storm-seconds", type=float, default=60.0, help="length of one storm; storms follow each other"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    seed, end, failed = options.seed, time.monotonic() + options.minutes * 60, False
    while time.monotonic() < end:
        with enterable_directory() as directory:
            kills = random_kills(random.Random(seed))
            report = run(directory, seed=seed, seconds=options.storm_seconds, kills=kills)
        sys.stdout.write(f"{report}\n")
        sys.stdout.flush()
        failed = failed or bool(report.problems)
        seed += 1
    sys.stdout.write("FAILED\n" if failed else "Nothing lost, nothing twice.\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
