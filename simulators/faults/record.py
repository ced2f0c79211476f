"""
`Record`: what was really served, the truth that ledgers are compared with.

One entry per call that began an answer. With a file, an entry is with the kernel before the last byte of its answer
goes out: a client that has the whole answer can rely on its entry, whoever is killed next. Calls that produced no
answer are kept apart: `refused` (a test asked for it) and `unexpected` (the caller deserved it).
"""

import os
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

MOST_IN_MEMORY = 500_000
MOST_FAILURES = 10_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, no token in two classes: input is uncached input, output excludes reasoning."""

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        written = self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.input_tokens + self.cache_read_tokens + written

    @property
    def completion_tokens(self) -> int:
        return self.output_tokens + self.reasoning_tokens


@dataclass(slots=True)
class ServedCall:
    """One entry. `outcome` is complete, client_gone, cut or error; the tokens are those that were produced."""

    provider: str
    model: str
    client_request_id: str | None
    upstream_request_id: str
    api_key_tail: str
    stream: bool
    status: int = 200
    outcome: str = "cut"
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    delivered_chunks: int = 0
    started_at: str = ""
    ended_at: str = ""

    def charge_input(self, usage: Usage) -> None:
        self.input_tokens = usage.input_tokens
        self.cache_read_tokens = usage.cache_read_tokens
        self.cache_write_5m_tokens = usage.cache_write_5m_tokens
        self.cache_write_1h_tokens = usage.cache_write_1h_tokens

    def charge_output(self, usage: Usage) -> None:
        self.output_tokens = usage.output_tokens
        self.reasoning_tokens = usage.reasoning_tokens


def now() -> str:
    return datetime.now(UTC).isoformat()


class Record:
    """All entries in memory, the oldest dropped beyond half a million, and all of them in the file if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self.served: deque[dict[str, Any]] = deque(maxlen=MOST_IN_MEMORY)
        self.begun: deque[dict[str, Any]] = deque(maxlen=MOST_IN_MEMORY)
        """Calls that were understood, whatever became of them."""
        self.refused: deque[dict[str, Any]] = deque(maxlen=MOST_FAILURES)
        self.unexpected: deque[dict[str, Any]] = deque(maxlen=MOST_FAILURES)
        # Never closed by us: streams that are cut while the process ends still write their entry.
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, call: ServedCall) -> None:
        """Write an entry. Unbuffered: when this returns, the kernel has it."""
        call.ended_at = now()
        entry = asdict(call)
        self.served.append(entry)
        if self._file is not None:
            os.write(self._file, orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
