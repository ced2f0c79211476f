"""What tests of an outage of Redis or of the disk do, and what they count afterwards."""

import shutil
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from core.usage.usage_event import UsageEvent
from deploy.local.servers.valkey import ValkeyServer
from tests.gateway.served import usage_of
from tests.gateway.wire import chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until_elsewhere

HASTY = {"GATEWAY_REDIS_SECONDS": "0.3"}
DONE = b"data: [DONE]"
SLOW = "[[sim words=300 pause_ms=20]]"
MODELS = ["gpt-4o-mini", "claude-haiku-4-5"]


async def stream(gateway: RunningGateway, customer: Customer, text: str, model: str) -> bytes:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, text, model=model, stream=True))
        await client.head()
        await client.read_past(DONE)
        return client.received


def distinct_events(installation: Installation, customer: Customer) -> dict[UUID, UsageEvent]:
    """By their ids. What Redis may have executed and a gateway repeated is there twice, in the same words."""
    events: dict[UUID, UsageEvent] = {}
    for booked in installation.events(customer):
        assert events.setdefault(booked.event.event_id, booked.event).usage == booked.event.usage
    return events


def everything_served_is_booked(installation: Installation, upstream: SimulatedUpstream, customer: Customer) -> bool:
    events = distinct_events(installation, customer)
    return all(
        [usage_of(record) for record in upstream.served(client_request_id=str(event_id))] == [event.usage]
        for event_id, event in events.items()
    )


async def wait_distinct(installation: Installation, customer: Customer, count: int) -> None:
    await until_elsewhere(lambda: len(distinct_events(installation, customer)) >= count, f"{count} events")
    assert len(distinct_events(installation, customer)) == count


def spooled(installation: Installation) -> int:
    """Records on the disk."""
    return sum(path.read_bytes().count(b"\n") for path in installation.spool_directory.glob("*.spool"))


def break_the_spool(installation: Installation) -> None:
    """Its directory can't be written any more, whoever tries."""
    directory = installation.spool_directory
    while not directory.is_file():  # The gateway that tries its disk just now makes the directory again.
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(IsADirectoryError):
            directory.write_text("a file where the directory should be")


def start_older(server: ValkeyServer, directory: Path) -> None:
    """With the data that was put aside in `directory`."""
    shutil.rmtree(server.data_directory)
    shutil.copytree(directory, server.data_directory)
    server.start()
