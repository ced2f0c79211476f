"""CPU time per request and per streamed chunk, of the gateway and of nginx in the same rounds, and requests/s."""

from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.bench_run import PROXY, BenchRun, chat_body, median_figure
from loadtests.figures import Figure
from loadtests.load import Load, Report, Target

__all__ = ["CONNECTIONS", "non_streaming", "streaming"]

CONNECTIONS = 64
STREAMS = 100
STREAM_MODEL = "mock-100x5"
"""Paced: what comes without a pause travels in larger pieces through any proxy, and a chunk then costs nothing."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    port: int
    pids: list[int]


def non_streaming(run: BenchRun) -> Iterator[Figure]:
    """As many requests as one process can answer, over a fixed number of connections."""
    sides = [Side("gateway", run.gateway.port, run.gateway.pids)]
    if run.nginx:
        sides.append(Side("nginx", run.nginx.port, run.nginx.pids))
    body = chat_body("mock", stream=False)
    reports = _rounds(run, sides, body, CONNECTIONS)
    per_request = [[_cpu_us(report, report.targets[side.name].requests) for report in kept] for side, kept in reports]
    yield from _compared("non-streaming", "request", per_request)
    for side, kept in reports:
        rates = [report.targets[side.name].requests / report.seconds for report in kept]
        yield median_figure(f"non-streaming: requests/s of {side.name}", rates, "1/s", _limited_by(kept))
    gateway = reports[0][1]
    for group in run.stack.servers:
        spent = [report.cpu_seconds[group] * 1e6 / report.targets["gateway"].requests for report in gateway]
        yield median_figure(f"non-streaming: CPU of {group}", spent, "µs/request", "beside the gateway, not in it")
    yield _failures("non-streaming", reports)


def streaming(run: BenchRun) -> Iterator[Figure]:
    """Streams of 100 chunks, one write per chunk, so many that the gateway has to do at any moment."""
    sides = [Side("gateway", run.gateway.port, run.gateway.pids)]
    if run.nginx:
        sides.append(Side("nginx", run.nginx.unbuffered_port, run.nginx.pids))
    reports = _rounds(run, sides, chat_body(STREAM_MODEL, stream=True), STREAMS)
    per_chunk = [[_cpu_us(report, report.targets[side.name].chunks) for report in kept] for side, kept in reports]
    yield from _compared("streaming", "chunk", per_chunk)
    for side, kept in reports:
        rates = [report.targets[side.name].chunks / report.seconds for report in kept]
        apart = min(report.targets[side.name].reads / max(1, report.targets[side.name].chunks) for report in kept)
        note = f"{apart:.0%} of the chunks arrived alone"
        yield median_figure(f"streaming: chunks/s of {side.name}", rates, "1/s", note)
    yield _failures("streaming", reports)


def _rounds(run: BenchRun, sides: list[Side], body: str, connections: int) -> list[tuple[Side, list[Report]]]:
    def put(side: Side) -> Report:
        return run.load(
            Load(
                targets=[Target(side.name, side.port)],
                key=run.stack.key,
                body=body,
                connections=connections,
                seconds=run.seconds,
                watch={PROXY: side.pids, **run.stack.groups},
            )
        )

    reports = run.interleaved([lambda side=side: put(side) for side in sides])  # type: ignore[misc]
    return list(zip(sides, reports, strict=True))


def _compared(what: str, unit: str, costs: list[list[float]]) -> Iterator[Figure]:
    yield median_figure(f"{what}: CPU per {unit}", costs[0], f"µs/{unit}")
    if len(costs) > 1:
        yield median_figure(f"{what}: CPU per {unit} of nginx", costs[1], f"µs/{unit}")
        ratios = [ours / theirs for ours, theirs in zip(*costs, strict=True)]
        yield median_figure(f"{what}: CPU beside nginx", ratios, "times")


def _cpu_us(report: Report, count: int) -> float:
    return report.cpu_seconds[PROXY] * 1e6 / max(1, count)


def _limited_by(reports: list[Report]) -> str:
    """A proxy that had less than its core was waiting for somebody: the figure is then the machine's, not its own."""
    share = max(report.cpu_seconds[PROXY] / report.seconds for report in reports)
    return f"the proxy used {share:.0%} of its core"


def _failures(what: str, reports: list[tuple[Side, list[Report]]]) -> Figure:
    failures = sum(target.failures for _, kept in reports for report in kept for target in report.targets.values())
    return Figure(name=f"{what}: failures", value=failures, unit="")
