"""What a load generator is asked to do, and what it reports. Both travel between processes as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

__all__ = ["Load", "Percentiles", "Report", "Target", "TargetReport"]


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load. Of several, each takes its turn."""

    name: str
    port: int
    turns: int = 1
    """Requests to it in one round of all targets."""


@dataclass(frozen=True, slots=True)
class Load:
    targets: list[Target]
    key: str
    body: str
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)
    """Beyond those of every request."""
    connections: int = 64
    """Per target: each sends its next request when it has its answer. With a `rate`, the most that may be open."""
    rate: float = 0.0
    """Requests a second over all targets, sent on time whether answers come or not; 0 = as fast as answers come."""
    seconds: float = 3.0
    warm_up_seconds: float = 0.7
    """After every connection has seen the first byte of an answer."""
    ramp_per_second: int = 4_000
    """New connections a second."""
    watch: dict[str, list[int]] = field(default_factory=dict)
    """Groups of processes whose use of CPU and memory is wanted."""

    def encode(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def decode(cls, wire: bytes) -> "Load":
        document = orjson.loads(wire)
        return cls(**{**document, "targets": [Target(**target) for target in document["targets"]]})


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; all 0 when there was nothing to measure."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: list[float]) -> "Percentiles":
        if not values:
            return cls(0.0, 0.0, 0.0)
        ordered = sorted(values)
        return cls(*(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True, slots=True)
class TargetReport:
    requests: int
    """Answered whole within the window."""
    failures: int
    """Broken connections and statuses other than 200."""
    chunks: int
    """Events of streams."""
    reads: int
    """Pieces in which the answers arrived; fewer than chunks when some travelled together."""
    open_streams: int
    """Connections with an unfinished answer at the end of the window."""
    latency: Percentiles
    """To the last byte, from when the request should have been sent."""
    chunk_delay: Percentiles
    """From the upstream's writing of a chunk to its arrival here."""


@dataclass(frozen=True, slots=True)
class Report:
    seconds: float
    """Length of the window."""
    late: int
    """Requests that were not sent because `connections` were open: the target can't follow the rate."""
    targets: dict[str, TargetReport]
    cpu_seconds: dict[str, float]
    """Used within the window by the watched groups and by the generator itself (`load`)."""
    rss_bytes: dict[str, int]
    """At its end."""

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, wire: bytes) -> "Report":
        document = orjson.loads(wire)
        return cls(**{**document, "targets": {name: _target(report) for name, report in document["targets"].items()}})


def _target(document: dict[str, Any]) -> TargetReport:
    percentiles = {name: Percentiles(**document[name]) for name in ("latency", "chunk_delay")}
    return TargetReport(**{**document, **percentiles})
