"""Where a gateway's CPU time goes: load on one that runs under cProfile, and its functions by their own time."""

import pstats
import sys

from loadtests.bench_run import BenchRun, chat_body
from loadtests.cores import Cores
from loadtests.load import Load, Target
from loadtests.profiled_gateway import profile_file
from loadtests.stack import open_stack
from loadtests.throughput import CONNECTIONS, STREAM_MODEL, STREAMS

__all__ = ["show_profile"]

FUNCTIONS = 40


def show_profile(cores: Cores, *, stream: bool, seconds: float) -> None:
    """Printed to standard output: what the profiler adds makes the sum larger than a request really costs."""
    with open_stack(cores) as stack:
        with stack.gateway(module="loadtests.profiled_gateway") as gateway:
            run = BenchRun(stack, gateway, None, seconds, rounds=1)
            report = run.load(
                Load(
                    targets=[Target("gateway", gateway.port)],
                    key=stack.key,
                    body=chat_body(STREAM_MODEL if stream else "mock", stream=stream),
                    connections=STREAMS if stream else CONNECTIONS,
                    seconds=seconds,
                    warm_up_seconds=0.0,
                )
            ).targets["gateway"]
        print(f"{report.requests:,} requests and {report.chunks:,} chunks in the window")
        statistics = pstats.Stats(str(profile_file(gateway.spool)), stream=sys.stdout)
        statistics.strip_dirs().sort_stats("tottime").print_stats(FUNCTIONS)
