"""
`make soak`: a mixed load for as long as you like, and a gateway that must come back to where it was.

    python -m loadtests.soak --minutes 60
    python -m loadtests.soak --minutes 0.5 --round-seconds 4          a smoke test

Each round asks for whole answers and streams, sends keys and models that do not exist, and ends by hanging up on
whoever is still waiting. Between rounds the gateway must hold no request and Redis no reservation; its memory is noted.
At the end its sockets must be as many as between rounds, and its memory must not have a slope.
"""

import argparse
import http.client
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import redis

from loadtests.bench_run import BenchRun, chat_body
from loadtests.cores import Cores, all_cores
from loadtests.load import Load, Target
from loadtests.process_usage import usage_of
from loadtests.stack import Gateway, Stack, open_stack
from loadtests.trend import Point, slope_per_hour

__all__ = ["main"]

PLAIN_RATE, WRONG_RATE = 300.0, 20.0
STREAMS = 50
STREAM_MODEL = "mock-100x20"
QUIET_SECONDS = 15.0
"""Within which every request of a round must have ended."""
IDLE_SECONDS = 45.0
"""After this long, idle connections to the upstream are closed."""
SETTLING_ROUNDS = 2
"""Memory of the first rounds is filled pools and caches, not growth."""
MOST_MIB_PER_HOUR = 1.0
JUDGED_AFTER_SECONDS = 1_200
MOST_GROWTH_MIB = 8.0
"""For a run too short for a slope."""
SPARE_SOCKETS = 5


@dataclass(frozen=True, slots=True)
class Moment:
    """The gateway between two rounds."""

    seconds: float
    requests: int
    failures: int
    rss_mib: float
    sockets: int


def main() -> int:
    options = _options()
    with open_stack(Cores.divide(all_cores())) as stack, stack.gateway() as gateway:
        run = BenchRun(stack, gateway, None, options.round_seconds, rounds=1)
        moments, problems = _rounds(run, options.minutes * 60)
        if not problems:
            print(f"waiting {IDLE_SECONDS:g} s for idle connections to close", flush=True)
            time.sleep(IDLE_SECONDS)
            problems = _verdict(moments, _sockets(gateway))
    for problem in problems:
        print(f"FAILED: {problem}")
    if not problems:
        print(f"passed: {sum(moment.requests for moment in moments):,} requests, {_slope(moments):+.2f} MiB per hour")
    return len(problems) > 0


def _rounds(run: BenchRun, seconds: float) -> tuple[list[Moment], list[str]]:
    begun, moments = time.monotonic(), list[Moment]()
    while (elapsed := time.monotonic() - begun) < seconds or len(moments) <= SETTLING_ROUNDS:
        requests, failures = _one_round(run)
        held = _held_after(run, QUIET_SECONDS)
        if held:
            return moments, [f"{QUIET_SECONDS:g} s after a round {held}"]
        rss = usage_of(run.gateway.pids).rss_bytes / 2**20
        moments.append(Moment(elapsed, requests, failures, rss, _sockets(run.gateway)))
        print(f"{elapsed:7.0f} s  {requests:8,} requests  {rss:7.1f} MiB  {moments[-1].sockets:5} sockets", flush=True)
    return moments, []


def _one_round(run: BenchRun) -> tuple[int, int]:
    """Requests answered and failed of those that should have been answered."""
    target = [Target("gateway", run.gateway.port)]
    key, seconds = run.stack.key, run.seconds
    plain, stream = chat_body("mock", stream=False), chat_body(STREAM_MODEL, stream=True)
    loads = [
        Load(targets=target, key=key, body=plain, rate=PLAIN_RATE, connections=200, seconds=seconds),
        Load(targets=target, key=key, body=stream, connections=STREAMS, seconds=seconds),
        Load(targets=target, key="pk_live_unknown", body=plain, rate=WRONG_RATE, connections=50, seconds=seconds),
        Load(
            targets=target,
            key=key,
            body=chat_body("nobody-has-this", stream=False),
            rate=WRONG_RATE,
            connections=50,
            seconds=seconds,
        ),
    ]
    with ThreadPoolExecutor(len(loads)) as threads:
        reports = [report.targets["gateway"] for report in threads.map(run.load, loads)]
    answered = reports[:2]
    return sum(report.requests for report in answered), sum(report.failures for report in answered)


def _held_after(run: BenchRun, seconds: float) -> str:
    """What is still held when the time is over; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    checks: tuple[Callable[[], str], ...] = (
        lambda: _open_requests(run.gateway),
        lambda: _reservations(run.stack),
    )
    held = ""
    while time.monotonic() < deadline:
        held = "; ".join(filter(None, (check() for check in checks)))
        if not held:
            return ""
        time.sleep(0.2)
    return held


def _open_requests(gateway: Gateway) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        count = json.loads(connection.getresponse().read())["open_requests"]
    finally:
        connection.close()
    return f"{count} requests are open in the gateway" if count else ""


def _reservations(stack: Stack) -> str:
    with redis.Redis.from_url(stack.environment["REDIS_URL"], socket_timeout=5) as client:
        leases = sum(int(client.zcard(name)) for name in client.scan_iter("*:leases"))
        names = client.scan_iter("*:account:*")
        in_flight = sum(int(client.hget(name, "in_flight") or 0) for name in names)
    return f"Redis holds {leases} leases and counts {in_flight} in flight" if leases or in_flight else ""


def _sockets(gateway: Gateway) -> int:
    links = (Path(f"/proc/{gateway.pid}/fd")).iterdir()
    return sum(_target(link).startswith("socket:") for link in links)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # Closed since it was listed.
        return ""


def _slope(moments: list[Moment]) -> float:
    return slope_per_hour([Point(moment.seconds, moment.rss_mib) for moment in moments[SETTLING_ROUNDS:]])


def _verdict(moments: list[Moment], sockets: int) -> list[str]:
    problems = []
    failures = sum(moment.failures for moment in moments)
    if failures:
        problems.append(f"{failures} requests failed")
    if sockets > (maximum := min(moment.sockets for moment in moments) + SPARE_SOCKETS):
        problems.append(f"{sockets} sockets are open at the end; {maximum} would be as many as between rounds")
    grown = moments[-1].rss_mib - moments[SETTLING_ROUNDS].rss_mib
    if moments[-1].seconds >= JUDGED_AFTER_SECONDS:
        if _slope(moments) > MOST_MIB_PER_HOUR:
            problems.append(f"memory grows by {_slope(moments):.1f} MiB per hour; at most {MOST_MIB_PER_HOUR:g} may be")
    elif grown > MOST_GROWTH_MIB:
        problems.append(f"memory has grown by {grown:.1f} MiB; at most {MOST_GROWTH_MIB:g} may be in so short a run")
    return problems


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--round-seconds", type=float, default=20.0, help="length of a round (default: 20)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
