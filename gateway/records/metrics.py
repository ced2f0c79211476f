"""
Every metric of the gateway, with its meaning. Labels are bounded: models and providers come from the models file, never
from a request; no label names an account or a key. The worker processes of one machine add up (prometheus-client's
multiprocess mode).
"""

from collections.abc import Sequence
from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

from core.usage.usage_event import Outcome
from gateway.records.tallies import CountTally, HistogramTally, Tallies

__all__ = [
    "ATTEMPTS",
    "BUILD",
    "CIRCUITS_OPEN",
    "CLIENT_HANG_UPS",
    "CONNECTIONS",
    "CONNECTIONS_LIMIT",
    "CONNECTIONS_REFUSED",
    "DESCRIPTORS_EXHAUSTED",
    "DURATION",
    "ESTIMATED",
    "FIRST_BYTE",
    "FLAWED_REPORTS",
    "KEYS_OF_ANOTHER_PEPPER",
    "LOG_LINES_DROPPED",
    "MODELS_FILE_VALID",
    "OFFLINE_ADMISSIONS",
    "OPEN_REQUESTS",
    "OPEN_REQUESTS_LIMIT",
    "OVERHEAD",
    "REDIS_CONNECTED",
    "REFUSALS",
    "REQUESTS",
    "SETTLEMENTS",
    "SPOOLED",
    "SPOOL_FAILURES",
    "SPOOL_RECORDS",
    "SPOOL_REJECTED_FILES",
    "TALLIES",
    "TOKENS",
    "UNUSUAL_ANSWERS",
    "WAIVED",
    "WORKER_STARTED",
    "counter",
    "histogram",
]

MAX_SERIES = 10_000
"""Remembered of each kind."""
TALLIES = Tallies()
"""What has been counted and is not in Prometheus yet; `flush` hands it over."""


class BatchHistogram(Histogram):
    def add(self, counts: Sequence[int], total: float) -> None:
        """Many observations at once: `counts[i]` in bucket i, and their sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


@lru_cache(MAX_SERIES)
def counter(metric: Counter, *labels: str) -> CountTally:
    """For the path of a request."""
    return CountTally(TALLIES, metric.labels(*labels) if labels else metric)


@lru_cache(MAX_SERIES)
def histogram(metric: BatchHistogram, *labels: str) -> HistogramTally:
    """As `counter`."""
    return HistogramTally(TALLIES, metric.labels(*labels) if labels else metric, BOUNDS[metric])


SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)

REQUESTS = Counter(
    "poindexter_requests", "Answered requests by model, provider and status code.", ("model", "provider", "code")
)
DURATION = BatchHistogram(
    "poindexter_request_duration_seconds",
    "From the request's head to the answer's last byte.",
    ("model",),
    buckets=SECONDS,
)
FIRST_BYTE = BatchHistogram(
    "poindexter_first_byte_seconds", "From the request's head to the answer's first byte.", ("model",), buckets=SECONDS
)
OVERHEAD = BatchHistogram(
    "poindexter_overhead_seconds",
    "Of the time to the first byte, what was not spent waiting for an upstream.",
    buckets=OVERHEAD_SECONDS,
)
BOUNDS = {DURATION: SECONDS, FIRST_BYTE: SECONDS, OVERHEAD: OVERHEAD_SECONDS}
OPEN_REQUESTS = Gauge("poindexter_open_requests", "Requests whose answer has not ended.", multiprocess_mode="livesum")
OPEN_REQUESTS_LIMIT = Gauge(
    "poindexter_open_requests_limit", "Open requests beyond which more are refused.", multiprocess_mode="livesum"
)
CONNECTIONS = Gauge(
    "poindexter_connections", "Connections of clients, idle ones included.", multiprocess_mode="livesum"
)
CONNECTIONS_LIMIT = Gauge(
    "poindexter_connections_limit", "Connections beyond which more are refused.", multiprocess_mode="livesum"
)
CONNECTIONS_REFUSED = Counter("poindexter_connections_refused", "Connections refused because there were too many.")
DESCRIPTORS_EXHAUSTED = Counter(
    "poindexter_descriptors_exhausted",
    "Looks (one a second) that found no file descriptor left: new connections fail without an answer.",
)
REFUSALS = Counter("poindexter_refusals", "Requests the gateway refused, by the code of the error.", ("code",))
TOKENS = Counter("poindexter_tokens", "Metered tokens by model and class.", ("model", "type"))
ESTIMATED = Counter("poindexter_estimated_events", "Usage events whose counts are ours, by reason.", ("reason",))
FLAWED_REPORTS = Counter(
    "poindexter_flawed_usage_reports",
    "Usage that an upstream reported and that can't be true, or has no price: what was charged instead is bounded.",
)
UNUSUAL_ANSWERS = Counter(
    "poindexter_unusual_answers",
    "Answers that ended for an unknown reason or used tools of the provider (see the log).",
)
CLIENT_HANG_UPS = Counter("poindexter_client_hang_ups", "Requests whose client left before the answer's end.")
ATTEMPTS = Counter(
    "poindexter_upstream_attempts", "Upstream attempts by provider and outcome.", ("provider", "outcome")
)
CIRCUITS_OPEN = Gauge(
    "poindexter_circuits_open", "Targets that are left alone after failures.", ("target",), multiprocess_mode="livemax"
)
SETTLEMENTS = Counter(
    "poindexter_settlements",
    "Reservations ended: released, when nothing is charged, or settled, by how the answer ended.",
    ("outcome",),
)
for ending in Outcome:
    SETTLEMENTS.labels(ending)  # A series that does not exist yet cannot be alerted on.
WAIVED = Counter("poindexter_waived_nano_usd", "Cost beyond a cap that nobody pays; must stay near 0.")
SPOOLED = Counter("poindexter_spooled_records", "Settlements that went to the local spool because Redis was away.")
SPOOL_RECORDS = Gauge(
    "poindexter_spool_records", "Settlements in the local spool, waiting for Redis.", multiprocess_mode="livesum"
)
SPOOL_FAILURES = Counter("poindexter_spool_failures", "Failed writes to the spool (disk full, no rights).")
SPOOL_REJECTED_FILES = Gauge(
    "poindexter_spool_rejected_files",
    "Files of records in <spool>/rejected that Redis or this version will never take.",
    multiprocess_mode="livemax",
)
OFFLINE_ADMISSIONS = Counter("poindexter_offline_admissions", "Requests served on trust while Redis was away.")
REDIS_CONNECTED = Gauge(
    "poindexter_redis_connected", "1 while this process has its connection to Redis.", multiprocess_mode="livemin"
)
MODELS_FILE_VALID = Gauge(
    "poindexter_models_file_valid",
    "0 while the newest models file is refused and the one before serves.",
    multiprocess_mode="livemin",
)
KEYS_OF_ANOTHER_PEPPER = Counter(
    "poindexter_keys_of_another_pepper",
    "Looks, at most one a minute, at which an unknown key seemed to be one of ours: the pepper may be wrong.",
)
LOG_LINES_DROPPED = Counter(
    "poindexter_log_lines_dropped", "Log lines dropped because standard output was blocked, closed or full."
)
WORKER_STARTED = Gauge(
    "poindexter_worker_start_time_seconds",
    "When the newest worker process started; it changes when a worker died.",
    multiprocess_mode="livemax",
)
BUILD = Gauge("poindexter_build_info", "1; the version is a label.", ("version",), multiprocess_mode="livemax")
