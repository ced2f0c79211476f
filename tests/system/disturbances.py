"""
What may happen to a running system beside kill -9: each a named disturbance of the `World`, which ends by itself.

`valkey refuses`      its memory is full: it answers reads and refuses writes
`valkey read-only`    it has become a replica, as during a failover
`valkey older`        it dies and comes back with the append-only file of a second before, while metering is down
`valkey clock`        its clock steps ahead by a minute, and back
`valkey disk`         its disk stalls and it dies meanwhile, while metering is down
`gateway N frozen`    the process stands still for longer than its lease (a paused machine)
`gateway N cut off`   it cannot reach Valkey for longer than its lease, nor the other way round
`gateway N mute`      it is started anew, and the disk behind its standard output is full from then on
`ledger closed`       the month's partition is detached: every event is parked until it is back and replayed
"""

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from metering.ledger.partitions import month_after, month_of
from tests.system.machine_faults import can_fault_machines
from tests.system.world import GATEWAYS, LEASE_SECONDS, World

__all__ = ["disturb", "every_disturbance"]

STEP_SECONDS = 60
STALL_MILLISECONDS = 1_700
OUTAGE_SECONDS = 1.0
LONGER_THAN_A_LEASE = LEASE_SECONDS * 3


def disturb(world: World, name: str) -> None:
    """Returns when it is over. Raises KeyError for an unknown name."""
    if name.startswith("gateway "):
        number, _, what = name.removeprefix("gateway ").partition(" ")
        OF_A_GATEWAY[what](world, int(number))
    else:
        DISTURBANCES[name](world)


def _refuses(world: World) -> None:
    world.installation.redis.config_set("maxmemory", "1")
    time.sleep(OUTAGE_SECONDS)
    world.installation.redis.config_set("maxmemory", "0")


def _read_only(world: World) -> None:
    world.installation.redis.replicaof("127.0.0.1", 1)
    time.sleep(OUTAGE_SECONDS)
    world.installation.redis.replicaof("NO", "ONE")


def _older(world: World) -> None:
    data = world.valkey.data_directory / "appendonlydir"
    older = world.directory / "older"
    with world.without_metering():
        shutil.copytree(data, older)
        time.sleep(OUTAGE_SECONDS)
        world.valkey.kill()
        shutil.rmtree(data)
        older.rename(data)
        world.valkey.start()


def _clock(world: World) -> None:
    world.machine.set(clock_seconds=STEP_SECONDS)
    time.sleep(OUTAGE_SECONDS)
    world.machine.set()


def _disk(world: World) -> None:
    with world.without_metering():
        world.machine.set(sync_milliseconds=STALL_MILLISECONDS)
        time.sleep(OUTAGE_SECONDS)
        world.valkey.kill()
        world.machine.set()
        world.valkey.start()


def _closed(world: World) -> None:
    month = month_of(datetime.now(UTC).date())
    name = f"usage_events_{month:%Y_%m}"
    world.ask(lambda services: services.pool.execute(f"ALTER TABLE usage_events DETACH PARTITION {name}"))
    time.sleep(OUTAGE_SECONDS)
    bounds = f"FROM ('{month}') TO ('{month_after(month)}')"
    world.ask(
        lambda services: services.pool.execute(f"ALTER TABLE usage_events ATTACH PARTITION {name} FOR VALUES {bounds}")
    )


def _frozen(world: World, number: int) -> None:
    process = world.gateways[number].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    process.send_signal(signal.SIGCONT)


def _mute(world: World, number: int) -> None:
    world.restart_gateway(number, output=Path("/dev/full"))


def _cut_off(world: World, number: int) -> None:
    world.networks[number].cut()
    time.sleep(LONGER_THAN_A_LEASE)
    world.networks[number].heal()


def every_disturbance() -> list[str]:
    """That can be made on this machine."""
    of_gateways = [f"gateway {number} {what}" for number in range(GATEWAYS) for what in OF_A_GATEWAY]
    return [name for name in [*DISTURBANCES, *of_gateways] if can_fault_machines() or name not in OF_A_MACHINE]


DISTURBANCES: Mapping[str, Callable[[World], None]] = {
    "valkey refuses": _refuses,
    "valkey read-only": _read_only,
    "valkey older": _older,
    "valkey clock": _clock,
    "valkey disk": _disk,
    "ledger closed": _closed,
}
OF_A_MACHINE = ("valkey clock", "valkey disk")
"""Need a compiler."""
OF_A_GATEWAY: Mapping[str, Callable[[World, int], None]] = {"frozen": _frozen, "cut off": _cut_off, "mute": _mute}
