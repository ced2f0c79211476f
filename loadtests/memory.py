"""Memory of one gateway process per open stream."""

import resource
from collections.abc import Iterator

from loadtests.bench_run import PROXY, BenchRun, chat_body
from loadtests.figures import Figure
from loadtests.load import Load, Target
from loadtests.process_usage import usage_of

__all__ = ["memory_per_stream"]

CROWDS = (1_000, 10_000)
STREAM_MODEL = "mock-1000x5000"
HOLD_SECONDS = 6.0
"""Long enough for every stream to carry a chunk."""
OTHER_FILES = 100


def memory_per_stream(run: BenchRun) -> Iterator[Figure]:
    """Each crowd on a gateway of its own, warmed up by some requests: Python gives little memory back."""
    for crowd in CROWDS:
        streams = min(crowd, _most_streams())
        with run.stack.gateway(f"gateway-{crowd}") as gateway:
            target = Target("gateway", gateway.port)
            run.load(Load(targets=[target], key=run.stack.key, body=chat_body("mock", stream=False), seconds=1.0))
            before = usage_of(gateway.pids).rss_bytes
            report = run.load(
                Load(
                    targets=[target],
                    key=run.stack.key,
                    body=chat_body(STREAM_MODEL, stream=True),
                    connections=streams,
                    seconds=HOLD_SECONDS,
                    warm_up_seconds=0.0,
                    ramp_per_second=1_500,
                    watch={PROXY: gateway.pids},
                )
            )
            answered = report.targets["gateway"]
            grown = (report.rss_bytes[PROXY] - before) / max(1, answered.open_streams) / 1024
            note = (
                f"{answered.open_streams:,} streams were open, {answered.failures} failed; {before >> 20} MiB without"
            )
            if streams < crowd:
                note += f"; this machine allows {resource.getrlimit(resource.RLIMIT_NOFILE)[1]:,} files, two a stream"
            yield Figure(name=f"memory per stream, {crowd:,} open", value=grown, unit="KiB", note=note)


def _most_streams() -> int:
    """A stream takes two sockets of the gateway."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - OTHER_FILES) // 2
