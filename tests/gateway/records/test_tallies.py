"""Counts as plain numbers, handed over to Prometheus."""

from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.records.metrics import BatchHistogram
from gateway.records.tallies import CountTally, HistogramTally, Tallies

BOUNDS = (0.1, 1.0, 10.0)
AMOUNTS = some.lists(some.one_of(some.floats(0, 100), some.sampled_from(BOUNDS)))


def samples(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, round(sample.value, 9))
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]


@given(some.lists(AMOUNTS, max_size=4))
def test_a_histogram_holds_what_it_would_hold_without_batches(batches: list[list[float]]) -> None:
    ours, theirs, tallies = CollectorRegistry(), CollectorRegistry(), Tallies()
    tally = HistogramTally(tallies, BatchHistogram("h", "", buckets=BOUNDS, registry=ours), BOUNDS)
    plain = Histogram("h", "", buckets=BOUNDS, registry=theirs)

    for amounts in batches:
        for amount in amounts:
            tally.observe(amount)
            plain.observe(amount)
        tallies.flush()

    assert samples(ours) == samples(theirs)


def test_a_count_is_handed_over_once() -> None:
    registry, tallies = CollectorRegistry(), Tallies()
    tally = CountTally(tallies, Counter("c", "", registry=registry))

    tally.inc()
    tally.inc(4)
    before = registry.get_sample_value("c_total")
    tallies.flush()
    tallies.flush()
    tally.inc()
    tallies.flush()

    assert before == 0
    assert registry.get_sample_value("c_total") == 6
    assert tallies.dirty == []
