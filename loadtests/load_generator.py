"""
Load on one or more servers: `python -m loadtests.load_generator`, a `Load` as JSON on standard input, a `Report` as
JSON on standard output. It reads the CPU time of the watched processes itself, at the two ends of its window.
"""

import asyncio
import sys
import time
from collections import deque

import uvloop

from loadtests.clockwork import Clockwork
from loadtests.load import Load, Percentiles, Report, Target, TargetReport
from loadtests.load_connection import LoadConnection, Tally
from loadtests.process_usage import Usage, usage_of_groups

__all__ = ["run"]

CONNECT_SECONDS = 10.0
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
CONNECTING = 50
"""At once."""


async def run(load: Load) -> Report:
    loop = asyncio.get_running_loop()
    crowds = [_Crowd(target, load, loop) for target in load.targets]
    for crowd in crowds:
        await crowd.connect(load.connections if not load.rate else 1)
    sender = _OpenLoop(load, crowds, loop) if load.rate else None
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not all(crowd.ready for crowd in crowds):  # noqa: ASYNC110  # An event would cost on every answer.
                await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(load.warm_up_seconds)
        return await _measure(load, crowds, sender)
    finally:
        if sender is not None:
            sender.stop()
        for crowd in crowds:
            crowd.close()


async def _measure(load: Load, crowds: "list[_Crowd]", sender: "_OpenLoop | None") -> Report:
    before, begun, cpu_begun = usage_of_groups(load.watch), time.perf_counter(), time.process_time()
    late_begun = sender.late if sender else 0
    for crowd in crowds:
        crowd.tally.counting = True
    await asyncio.sleep(load.seconds)
    for crowd in crowds:
        crowd.tally.counting = False
    after = usage_of_groups(load.watch)
    own = time.process_time() - cpu_begun
    return Report(
        seconds=time.perf_counter() - begun,
        late=sender.late - late_begun if sender else 0,
        targets={crowd.target.name: crowd.report() for crowd in crowds},
        cpu_seconds={name: _cpu(after[name], before[name]) for name in after} | {"load": own},
        rss_bytes={name: usage.rss_bytes for name, usage in after.items()},
    )


def _cpu(after: Usage, before: Usage) -> float:
    return after.cpu_seconds - before.cpu_seconds


class _Crowd:
    """The connections to one target."""

    def __init__(self, target: Target, load: Load, loop: asyncio.AbstractEventLoop) -> None:
        self.target = target
        self.tally = Tally()
        self.idle: deque[LoadConnection] = deque()
        self.connections: set[LoadConnection] = set()
        self._loop = loop
        self._ramp = load.ramp_per_second
        self._closed_loop = not load.rate
        self._closing = False
        self._connecting: set[asyncio.Task[None]] = set()
        body = load.body.encode()
        head = f"POST {load.path} HTTP/1.1\r\nhost: 127.0.0.1:{target.port}\r\nauthorization: Bearer {load.key}\r\n"
        more = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
        kind = f"content-type: application/json\r\nuser-agent: loadtests\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = (head + more + kind).encode() + body

    @property
    def ready(self) -> bool:
        return all(connection.answered for connection in self.connections) or not self._closed_loop

    async def connect(self, count: int) -> None:
        begun = self._loop.time()
        gate = asyncio.Semaphore(CONNECTING)

        async def one(number: int) -> None:
            await asyncio.sleep(max(0.0, begun + number / self._ramp - self._loop.time()))
            async with gate:
                connection = await self.add()
            if self._closed_loop:
                connection.send(time.perf_counter())
            else:
                self.idle.append(connection)

        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(number))

    async def add(self) -> LoadConnection:
        def make() -> LoadConnection:
            return LoadConnection(self._request, self.tally, self._free, self._lost)

        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await self._loop.create_connection(make, "127.0.0.1", self.target.port)
        self.connections.add(connection)
        return connection

    def send(self, due: float, maximum: int) -> bool:
        """One request, due at `due`; False when `most` connections are busy already."""
        if self.idle:
            self.idle.pop().send(due)
        elif len(self.connections) + len(self._connecting) < maximum:
            task = self._loop.create_task(self._send_anew(due))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        else:
            return False
        return True

    def close(self) -> None:
        self._closing = True
        for connection in self.connections:
            connection.close()

    def report(self) -> TargetReport:
        tally = self.tally
        return TargetReport(
            requests=tally.requests,
            failures=tally.failures,
            chunks=tally.chunks,
            reads=tally.reads,
            open_streams=sum(connection.waiting for connection in self.connections),
            latency=Percentiles.of(tally.latencies),
            chunk_delay=Percentiles.of(tally.chunk_delays),
        )

    async def _send_anew(self, due: float) -> None:
        (await self.add()).send(due)

    def _free(self, connection: LoadConnection) -> None:
        if self._closed_loop and not self._closing:
            connection.send(time.perf_counter())
        else:
            self.idle.append(connection)

    def _lost(self, connection: LoadConnection) -> None:
        if not self._closing:
            self.connections.discard(connection)
            if connection in self.idle:
                self.idle.remove(connection)


class _OpenLoop:
    """Sends on time, whatever comes back. A request that could not be sent in time is measured from when it was due."""

    def __init__(self, load: Load, crowds: list[_Crowd], loop: asyncio.AbstractEventLoop) -> None:
        self.late = 0
        self._most = load.connections
        self._turns = [crowd for crowd in crowds for _ in range(crowd.target.turns)]
        self._sent = 0
        self._clockwork = Clockwork(loop, load.rate, self._send)

    def stop(self) -> None:
        self._clockwork.stop()

    def _send(self, count: int) -> None:
        now = time.perf_counter()
        for missed in reversed(range(count)):
            crowd = self._turns[self._sent % len(self._turns)]
            self._sent += 1
            if not crowd.send(now - missed * self._clockwork.interval, self._most):
                self.late += 1


def main() -> None:
    load = Load.decode(sys.stdin.buffer.read())
    sys.stdout.buffer.write(uvloop.run(run(load)).encode())


if __name__ == "__main__":
    main()
