"""Usage events as the ledger takes them: entries of the stream, and rows."""

from collections.abc import Sequence

from core.redis.keys import ShardKeys
from core.usage.usage_event import UsageEvent
from metering.ledger.entries import Entry, UsageRow, usage_row

__all__ = ["SHARD", "entry", "rows"]

SHARD = ShardKeys("{s00}")


def entry(item: UsageEvent, *, waived: int = 0, number: int = 0) -> Entry:
    fields = {b"e": item.encode(), b"c": b"%d" % (item.cost - waived), b"w": b"%d" % waived}
    return Entry(SHARD, b"1-%d" % number, fields)


def rows(items: Sequence[UsageEvent], *, waived: int = 0) -> list[UsageRow]:
    return [usage_row(entry(item, waived=waived)) for item in items]
