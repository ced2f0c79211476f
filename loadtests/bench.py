"""
`make bench`: one gateway process with everything on, measured beside nginx on the same mock in the same minutes.

    python -m loadtests.bench                                     every section, about two minutes
    python -m loadtests.bench --only non-streaming,streaming --seconds 1
    python -m loadtests.bench --profile non-streaming             where the gateway's time goes
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator

from loadtests import ledger
from loadtests.bench_run import BenchRun
from loadtests.cores import Cores, all_cores, on_cores
from loadtests.figures import Figure
from loadtests.gateway_profile import show_profile
from loadtests.latency import added_chunk_delay, added_latency
from loadtests.memory import memory_per_stream
from loadtests.nginx import Nginx, NginxMissing
from loadtests.report import machine, save, table
from loadtests.stack import open_stack
from loadtests.throughput import non_streaming, streaming
from loadtests.workers import two_workers

__all__ = ["main"]

NGINX_FILES = 4_096
LEDGER_EVENTS = 100_000


def _ledger(run: BenchRun) -> Iterator[Figure]:
    """Runs on servers of its own."""
    result = ledger.run(ledger.Load(events=LEDGER_EVENTS, accounts=1_000, batch_size=2_000, consumers=2))
    note = f"{result.events_per_second:,}/s on the wall clock; {result.postgres_us} µs in Postgres beside it"
    yield Figure(name="ledger: events per core", value=result.events_per_second_and_core, unit="1/s", note=note)


SECTIONS: dict[str, Callable[[BenchRun], Iterable[Figure]]] = {
    "non-streaming": non_streaming,
    "streaming": streaming,
    "latency": added_latency,
    "chunk-delay": added_chunk_delay,
    "memory": memory_per_stream,
    "workers": two_workers,
    "ledger": _ledger,
}


def main() -> int:
    options = _options()
    cores = Cores.divide(all_cores())
    if options.profile:
        show_profile(cores, stream=options.profile == "streaming", seconds=options.seconds)
        return 0
    print(f"{machine()}; {cores}", flush=True)
    figures: list[Figure] = []
    with _run(cores, options) as (run, remarks):
        for name in options.only:
            print(f"... {name}", file=sys.stderr, flush=True)
            figures += SECTIONS[name](run)
    print(table(figures))
    remarks = {"cores": str(cores), "rounds": f"{options.rounds} of {options.seconds:g} s, medians"} | remarks
    for name, remark in remarks.items():
        print(f"{name}: {remark}")
    print(f"kept in {save(figures, remarks)}")
    return 0


@contextlib.contextmanager
def _run(cores: Cores, options: argparse.Namespace) -> Iterator[tuple[BenchRun, dict[str, str]]]:
    with open_stack(cores, metering=not options.without_metering) as stack, stack.gateway() as gateway:
        remarks = {"metering": "not running" if options.without_metering else "running beside it"}
        try:
            with on_cores(cores.proxy):
                nginx = Nginx(stack.directory / "nginx", stack.upstream_port, files=NGINX_FILES)
            remarks["nginx"] = nginx.version
        except NginxMissing as missing:
            nginx, remarks["nginx"] = None, str(missing)
        try:
            yield BenchRun(stack, gateway, nginx, options.seconds, options.rounds), remarks
        finally:
            if nginx:
                nginx.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measurement (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is repeated (default: 3)")
    parser.add_argument("--without-metering", action="store_true", help="leave the ledger's process out")
    parser.add_argument("--profile", choices=["non-streaming", "streaming"], help="profile the gateway instead")
    return parser.parse_args()


def _sections(text: str) -> list[str]:
    names = text.split(",")
    unknown = set(names) - set(SECTIONS)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such section: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
