"""
Log lines are a convenience: they delay nobody and end nobody, whatever becomes of standard output.

Guards against B2, found in this product.
"""

import asyncio
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.records import request_log
from gateway.records.request_log import RequestLog
from tests.gateway.wire import chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import until_elsewhere


@pytest.fixture
def pipe() -> Any:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_nobody_reads_is_given_up(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "BLOCKED_SECONDS", 0.1)
    log = RequestLog(pipe[1])
    log._lines = [b"x" * 1_000 + b"\n"] * 1_000
    started = time.monotonic()

    log.flush()

    assert time.monotonic() - started < 5
    assert log._lines == []


async def test_a_line_that_is_made_while_others_are_written_is_not_lost(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread took the list away between the look-up of `append` and its call."""
    monkeypatch.setattr(request_log, "FLUSH_SECONDS", 0.0)
    log = RequestLog(pipe[1])
    running = asyncio.create_task(log.run())
    for number in range(1_000):
        held = log._lines  # As `add` does: first the list, then the line.
        line = b"%03d\n" % number
        held.append(line)
        await asyncio.sleep(0)
    received = b""
    while received.count(b"\n") < 1_000:
        received += await asyncio.to_thread(os.read, pipe[0], 1 << 20)
    running.cancel()

    assert received == b"".join(b"%03d\n" % number for number in range(1_000))


async def ask(gateway: RunningGateway, customer: Customer) -> int:
    async with wire(gateway.port) as client:
        await client.send(chat(customer, "Hello"))
        head, _ = await client.answer()
    return head.status


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_full_disk_under_the_log_ends_no_gateway_and_is_recovered_from(
    installation: Installation, workers: int
) -> None:
    """All streams were cut, and the next process died at its first line."""
    gateway = installation.start_gateway(workers=workers)
    customer = installation.customer()
    pids = {gateway.process.pid, *gateway.worker_pids}
    full = gateway.log.stat().st_size + 30
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))

    during = [await ask(gateway, customer) for _ in range(10)]
    lost = "poindexter_log_lines_dropped_total"
    await until_elsewhere(lambda: gateway.metric(lost) >= 10, "counted lines")
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    after = await ask(gateway, customer)
    mark = f'"account":{customer.account_id},'.encode()
    await until_elsewhere(lambda: mark in gateway.log.read_bytes(), "a line")
    whole = [line for line in gateway.log.read_bytes().splitlines() if mark in line]
    torn = [line for line in gateway.log.read_bytes().splitlines() if not line.endswith(b"}")]

    assert (during, after) == ([200] * 10, 200)
    assert len([json.loads(line) for line in whole]) == 1
    assert len(torn) == 1
    gateway.log.write_bytes(b"")
    assert gateway.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_whose_log_is_full_from_the_beginning_serves(
    shared: Installation, customer: Customer, workers: int
) -> None:
    gateway = shared.start_gateway(workers=workers, output=Path("/dev/full"))

    assert await ask(gateway, customer) == 200
    assert gateway.stop() == 0


def test_the_metrics_of_workers_lie_where_no_disk_can_be_full(shared: Installation) -> None:
    """They are mapped files: a write that finds no room ends the process by a signal."""
    gateway = shared.start_gateway(workers=2)

    environment = Path(f"/proc/{gateway.worker_pids[0]}/environ").read_bytes().split(b"\0")

    [directory] = [value for value in environment if value.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    assert directory.startswith(b"PROMETHEUS_MULTIPROC_DIR=/dev/shm/poindexter-metrics-")
    assert gateway.stop() == 0
    assert not Path(directory.partition(b"=")[2].decode()).exists()
