"""What a second worker process brings."""

from collections.abc import Iterator
from dataclasses import replace

from loadtests.bench_run import PROXY, BenchRun, chat_body, median_figure
from loadtests.figures import Figure
from loadtests.load import Load, Report, Target
from loadtests.stack import Gateway

__all__ = ["two_workers"]

CORES_NEEDED = 4
"""Two for the workers, two for the mock, the generator, Valkey and the ledger."""
CONNECTIONS = 128


def two_workers(run: BenchRun) -> Iterator[Figure]:
    with run.stack.gateway("gateway-pair", workers=2) as pair:
        single, double = run.interleaved([lambda: _load(run, run.gateway), lambda: _load(run, pair)])
    ratios = [_rate(two) / _rate(one) for one, two in zip(single, double, strict=True)]
    figure = median_figure("two workers beside one", ratios, "times", _note(double))
    cores = len(run.stack.cores.proxy | run.stack.cores.rest)
    if cores < CORES_NEEDED:
        why = f"{cores} cores: the second worker shares its core with everything else"
        figure = replace(figure, not_judged=why)
    yield figure
    yield median_figure("two workers: requests/s", [_rate(report) for report in double], "1/s")
    yield median_figure("two workers: CPU per request", [_cost(report) for report in double], "µs/request")


def _load(run: BenchRun, gateway: Gateway) -> Report:
    return run.load(
        Load(
            targets=[Target("gateway", gateway.port)],
            key=run.stack.key,
            body=chat_body("mock", stream=False),
            connections=CONNECTIONS,
            seconds=run.seconds,
            watch={PROXY: gateway.pids, **run.stack.groups},
        )
    )


def _rate(report: Report) -> float:
    return report.targets["gateway"].requests / report.seconds


def _cost(report: Report) -> float:
    return report.cpu_seconds[PROXY] * 1e6 / max(1, report.targets["gateway"].requests)


def _note(reports: list[Report]) -> str:
    used = max(report.cpu_seconds[PROXY] / report.seconds for report in reports)
    generator = max(report.cpu_seconds["load"] / report.seconds for report in reports)
    return f"the workers used {used:.2f} cores, the load generator {generator:.2f}"
