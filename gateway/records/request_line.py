"""One JSON line per request, at its end, with the outcome. Prompts and answers are never in it. Pure."""

from datetime import UTC, datetime

import orjson

from gateway.records.request_record import RequestRecord

__all__ = ["request_line"]


def request_line(record: RequestRecord, *, now: float, ended_at: float) -> bytes:
    """`now` in Unix seconds, `ended_at` of `time.monotonic`."""
    principal, model, target, event = record.principal, record.model, record.target, record.event
    line = {
        "time": datetime.fromtimestamp(now, UTC),
        "level": "info",
        "logger": "gateway.request",
        "message": f"{record.method} {record.path[:200]}",
        "request_id": str(record.request_id),
        "account": principal.account_id if principal else None,
        "key": principal.key_id if principal else None,
        "model": model.name if model else None,
        "target": target.name if target else None,
        "attempts": record.attempts,
        "status": record.status,
        "outcome": record.outcome,
        "code": record.code or None,
        "tokens": event.usage.as_tuple() if event else None,
        "estimated": event.estimated or None if event else None,
        "cost_nano_usd": event.cost if event else None,
        "first_byte_ms": round(record.first_byte_seconds * 1000, 2),
        "upstream_ms": round(record.upstream_seconds * 1000, 2),
        "duration_ms": round((ended_at - record.received_at) * 1000, 2),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
