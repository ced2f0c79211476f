"""
`make bench-peers`: our gateway beside others, on the same mock and under the same load, one after the other.

Ours runs with everything on; the others with the least they need (`peers`). Who can't be installed is left out, with
the reason in the remarks.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from loadtests.bench_run import PROXY, BenchRun, chat_body
from loadtests.cores import Cores, all_cores, on_cores
from loadtests.figures import Figure
from loadtests.load import Load, Report, Target
from loadtests.peers import PEERS, Peer, PeerMissing
from loadtests.process_usage import processes_below
from loadtests.report import machine, save, table
from loadtests.stack import MODEL_NAMES, open_stack

__all__ = ["main"]

CONNECTIONS = 64
STREAM_MODEL = "mock-100x20"
STREAMS = 10
"""500 chunks a second: what the slowest can follow."""


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    port: int
    pid: int
    key: str
    headers: dict[str, str] = field(default_factory=dict)


def main() -> int:
    options = _options()
    cores = Cores.divide(all_cores())
    print(f"{machine()}; {cores}", flush=True)
    remarks = {"cores": str(cores), "length": f"{options.seconds:g} s each"}
    with open_stack(cores) as stack, stack.gateway() as gateway:
        run = BenchRun(stack, gateway, None, options.seconds, rounds=1)
        figures = list(_figures(run, Side("poindexter", gateway.port, gateway.pid, stack.key)))
        for peer in PEERS:
            print(f"... {peer.name}", file=sys.stderr, flush=True)
            try:
                remarks[peer.name] = peer.install()
                figures += _peer_figures(run, peer)
            except PeerMissing as missing:
                remarks[peer.name] = f"left out: {missing}"
    print(table(figures))
    for name, remark in remarks.items():
        print(f"{name}: {remark}")
    print(f"kept in {save(figures, remarks, 'peers')}")
    return 0


def _peer_figures(run: BenchRun, peer: Peer) -> list[Figure]:
    with on_cores(run.stack.cores.proxy), peer.running(run.stack.upstream_port, MODEL_NAMES) as running:
        return list(_figures(run, Side(peer.name, running.port, running.pid, running.key, running.headers)))


def _figures(run: BenchRun, side: Side) -> Iterator[Figure]:
    whole = _load(run, side, chat_body("mock", stream=False), CONNECTIONS)
    answered = whole.targets[side.name]
    note = f"{answered.failures} failed" if answered.failures else ""
    cost = whole.cpu_seconds[PROXY] * 1e6 / max(1, answered.requests)
    yield Figure(name=f"{side.name}: CPU per request", value=cost, unit="µs/request", note=note)
    yield Figure(name=f"{side.name}: requests/s", value=answered.requests / whole.seconds, unit="1/s")
    streamed = _load(run, side, chat_body(STREAM_MODEL, stream=True), STREAMS)
    chunks = streamed.targets[side.name]
    if chunks.chunks:
        cost = streamed.cpu_seconds[PROXY] * 1e6 / chunks.chunks
        note = f"{chunks.chunks / streamed.seconds:,.0f} chunks/s, a request's share included; {chunks.failures} failed"
        yield Figure(name=f"{side.name}: CPU per chunk", value=cost, unit="µs/chunk", note=note)
        yield Figure(name=f"{side.name}: chunk delay p50", value=chunks.chunk_delay.p50 * 1000, unit="ms")
    else:
        yield Figure(name=f"{side.name}: failed streams", value=chunks.failures, unit="", note="none was answered")
    yield Figure(name=f"{side.name}: memory", value=streamed.rss_bytes[PROXY] / 2**20, unit="MiB")


def _load(run: BenchRun, side: Side, body: str, connections: int) -> Report:
    return run.load(
        Load(
            targets=[Target(side.name, side.port)],
            key=side.key,
            body=body,
            headers=side.headers,
            connections=connections,
            seconds=run.seconds,
            watch={PROXY: processes_below(side.pid)},
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a measurement (default: 5)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
