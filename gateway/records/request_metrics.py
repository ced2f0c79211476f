"""Counts a request when it has ended."""

import time

from gateway.records import metrics
from gateway.records.request_record import RequestRecord

__all__ = ["count_request"]


def count_request(record: RequestRecord) -> None:
    """An observer of requests."""
    if record.refusal:
        metrics.counter(metrics.REFUSALS, record.refusal).inc()
    model = record.model.name if record.model else ""
    provider = record.target.provider.name if record.target else ""
    metrics.counter(metrics.REQUESTS, model, provider, str(record.status)).inc()
    if not record.admitted or not record.answered:
        return
    metrics.histogram(metrics.DURATION, model).observe(time.monotonic() - record.received_at)
    metrics.histogram(metrics.FIRST_BYTE, model).observe(record.first_byte_seconds)
    metrics.histogram(metrics.OVERHEAD).observe(max(0.0, record.first_byte_seconds - record.upstream_seconds))
