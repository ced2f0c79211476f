"""
What metering tells its callers apart.

* MeteringError
  x RefusedRows     Postgres refuses the data itself, now and for ever: bisect the batch and park the row at fault
    x PartitionMissing   … because the month has no partition: make it and try again
    x MonthDetached      … because somebody has detached the month's partition: park all of the month's rows
  x MalformedRecord the upstreams' own record is none: name the line
  x RedisNotSynced  Redis has it, but not on its disk: as if it had not
  x StreamTooLong   the stream is too long to be counted: let the consumers catch up first

Everything else (a server that is away, a deadlock, a time-out) passes through unchanged: the round is tried again.
"""

from datetime import date

__all__ = [
    "MalformedRecord",
    "MeteringError",
    "MonthDetached",
    "PartitionMissing",
    "RedisNotSynced",
    "RefusedRows",
    "StreamTooLong",
]


class MeteringError(Exception):
    pass


class RefusedRows(MeteringError):
    """The message is Postgres's own, without the row."""


class PartitionMissing(RefusedRows):
    pass


class MonthDetached(RefusedRows):
    def __init__(self, month: date, table: str) -> None:
        super().__init__(f"the table {table} is there, but it is no partition: attach it, then replay")
        self.month = month


class MalformedRecord(MeteringError):
    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line} {problem}")


class RedisNotSynced(MeteringError):
    pass


class StreamTooLong(MeteringError):
    def __init__(self, stream: str, length: int, maximum: int) -> None:
        super().__init__(f"{stream} holds {length} entries; counters are rebuilt from {maximum} at most")
