"""Log lines are a convenience: they delay nobody, not even the end of a process whose output nobody reads."""

import os
import time
from typing import Any

import pytest

from gateway import request_log
from gateway.request_log import RequestLog


@pytest.fixture
def pipe() -> Any:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    log = RequestLog(writer)
    lines = [b"%04d %s\n" % (number, b"x" * 80) for number in range(500)]
    log._lines = list(lines)

    log.flush()

    assert os.read(reader, 1 << 20) == b"".join(lines)


def test_a_pipe_that_nobody_reads_is_given_up(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "BLOCKED_SECONDS", 0.1)
    log = RequestLog(pipe[1])
    log._lines = [b"x" * 1_000 + b"\n"] * 1_000
    started = time.monotonic()

    log.flush()

    assert time.monotonic() - started < 5
    assert log._lines == []
