"""The metrics of the metering process. Labels are bounded; accounts and keys are never labels."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "BATCH_SECONDS",
    "COUNTER_DIFFERENCES",
    "COUNTER_REBUILDS",
    "DEAD_LETTERS",
    "DEAD_LETTERS_CHARGED",
    "DELETED_PENDING",
    "ESTIMATED",
    "EVENTS",
    "FAILED_ROUNDS",
    "LAST_COMMIT",
    "NAMELESS_DEAD_LETTERS",
    "OLDEST_ENTRY_SECONDS",
    "PARTITIONS_AHEAD",
    "REPLACED",
    "STREAM_LENGTH",
    "STREAM_PENDING",
    "SWEEPS",
    "WAIVED",
    "bounded_reason",
]

PREFIX = "poindexter_metering_"

EVENTS = Counter(PREFIX + "events", "Stream entries that reached the ledger, by what became of them.", ["result"])
for result in ("inserted", "duplicate", "dead_letter"):
    EVENTS.labels(result)  # A series that does not exist yet cannot be alerted on.

BATCH_SECONDS = Histogram(
    PREFIX + "batch_seconds",
    "From a batch's arrival until it is confirmed in Redis.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAST_COMMIT = Gauge(PREFIX + "last_commit_timestamp_seconds", "When the ledger last committed a batch.")
FAILED_ROUNDS = Counter(PREFIX + "failed_rounds", "Rounds of a loop that ended in an error and are retried.", ["loop"])

STREAM_LENGTH = Gauge(PREFIX + "stream_length", "Entries in the usage streams of this process's shards.")
STREAM_PENDING = Gauge(PREFIX + "stream_pending", "Entries that a consumer has read and not confirmed yet.")
OLDEST_ENTRY_SECONDS = Gauge(PREFIX + "oldest_entry_seconds", "Age of the oldest entry in the usage streams.")
DELETED_PENDING = Counter(
    PREFIX + "deleted_pending_entries",
    "Entries deleted from a stream before they reached the ledger. Each is lost usage: must stay 0.",
)

ESTIMATED = Counter(PREFIX + "estimated_events", "Recorded events whose counts are ours, by reason.", ["reason"])
REPLACED = Counter(
    PREFIX + "replaced_estimates",
    "Estimates that gave way to the counts of a gateway that had only seemed to be dead.",
)
WAIVED = Counter(PREFIX + "waived_nano_usd", "Cost beyond a cap that is never billed. Must stay near 0.")

SWEEPS = Counter(PREFIX + "sweeps", "Reservations whose lease ran out, by how they ended.", ["kind"])
for kind in ("released", "settled", "unreadable", "orphan"):
    SWEEPS.labels(kind)

DEAD_LETTERS = Gauge(PREFIX + "dead_letters", "Parked entries that wait for a person: list, show and replay them.")
DEAD_LETTERS_CHARGED = Gauge(
    PREFIX + "dead_letters_nano_usd", "What they have charged: counts against the caps, but is on no invoice yet."
)
NAMELESS_DEAD_LETTERS = Gauge(
    PREFIX + "nameless_dead_letters", "Those that do not name their account: their amount counts nowhere. Must be 0."
)
PARTITIONS_AHEAD = Gauge(PREFIX + "partitions_ahead", "Months after this one whose ledger partition exists.")
COUNTER_DIFFERENCES = Gauge(
    PREFIX + "counter_differences", "Redis counters that the last check found different from the ledger. Must be 0."
)
COUNTER_REBUILDS = Counter(PREFIX + "counter_rebuilds", "Rebuilds of the Redis counters from the ledger.")

MAX_REASONS = 16
_reasons: set[str] = set()


def bounded_reason(reason: str) -> str:
    """The reason itself for the first few that this process meets, `other` beyond: an event's text is no label."""
    if len(_reasons) < MAX_REASONS:
        _reasons.add(reason)
    return reason if reason in _reasons else "other"
