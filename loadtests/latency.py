"""
What a client waits longer because of the gateway: through it minus direct, at half of what it can carry.

Requests go out on time whether answers come or not, and both ways share one generator and the same seconds: what the
machine does to one it does to the other.
"""

import statistics
from collections.abc import Iterator

from loadtests.bench_run import BenchRun, chat_body, median_figure
from loadtests.figures import Figure
from loadtests.load import Load, Percentiles, Report, Target
from loadtests.throughput import CONNECTIONS

__all__ = ["added_chunk_delay", "added_latency"]

TURNS = 9
"""Requests through the gateway for each one direct."""
MOST_OPEN = 2_000
STREAM_MODEL = "mock-100x20"


def added_latency(run: BenchRun) -> Iterator[Figure]:
    saturation = _saturation(run)
    rate = saturation / 2 * (TURNS + 1) / TURNS
    reports = [
        run.load(
            Load(
                targets=[Target("gateway", run.gateway.port, TURNS), Target("direct", run.stack.upstream_port)],
                key=run.stack.key,
                body=chat_body("mock", stream=False),
                connections=MOST_OPEN,
                rate=rate,
                seconds=run.seconds,
            )
        )
        for _ in range(run.rounds)
    ]
    note = f"at {saturation / 2:,.0f} requests/s, half of what was reached"
    yield from _differences("added latency", [_pair(report, "latency") for report in reports], note)
    yield Figure(name="added latency: requests not sent in time", value=sum(report.late for report in reports), unit="")


def added_chunk_delay(run: BenchRun) -> Iterator[Figure]:
    """From the mock's writing of a chunk to its arrival, with streams that keep the gateway busy half the time."""
    streams = round(_streams_at_half_load(run))
    reports = [
        run.load(
            Load(
                targets=[Target("gateway", run.gateway.port), Target("direct", run.stack.upstream_port)],
                key=run.stack.key,
                body=chat_body(STREAM_MODEL, stream=True),
                connections=streams,
                seconds=run.seconds,
            )
        )
        for _ in range(run.rounds)
    ]
    note = f"with {streams} streams of 50 chunks/s"
    yield from _differences("added chunk delay", [_pair(report, "chunk_delay") for report in reports], note)


def _saturation(run: BenchRun) -> float:
    report = run.load(
        Load(
            targets=[Target("gateway", run.gateway.port)],
            key=run.stack.key,
            body=chat_body("mock", stream=False),
            connections=CONNECTIONS,
            seconds=run.seconds,
        )
    )
    return report.targets["gateway"].requests / report.seconds


def _streams_at_half_load(run: BenchRun) -> float:
    tried = 100
    report = run.load(
        Load(
            targets=[Target("gateway", run.gateway.port)],
            key=run.stack.key,
            body=chat_body(STREAM_MODEL, stream=True),
            connections=tried,
            seconds=run.seconds,
            watch={"gateway": run.gateway.pids},
        )
    )
    return tried * 0.5 / max(0.01, report.cpu_seconds["gateway"] / report.seconds)


def _pair(report: Report, name: str) -> tuple[Percentiles, Percentiles]:
    through, direct = (getattr(report.targets[target], name) for target in ("gateway", "direct"))
    return through, direct


def _differences(what: str, pairs: list[tuple[Percentiles, Percentiles]], note: str) -> Iterator[Figure]:
    for name in ("p50", "p95", "p99"):
        through = [getattr(pair[0], name) * 1000 for pair in pairs]
        direct = [getattr(pair[1], name) * 1000 for pair in pairs]
        added = [ours - theirs for ours, theirs in zip(through, direct, strict=True)]
        medians = f"{statistics.median(through):.2f} through, {statistics.median(direct):.2f} direct"
        yield median_figure(f"{what} {name}", added, "ms", f"{medians}, {note}")
