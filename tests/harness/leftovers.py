"""Processes that a test started and did not end."""

import contextlib
import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")
MARK = "POINDEXTER_TEST_RUN"
GRACE_SECONDS = 3.0
ALLOWED = "multiprocessing.resource_tracker"  # Python's own, ends with us.


def running(mark: str) -> set[int]:
    """Our children, and every process that inherited `mark` in its environment, orphans included. Linux only."""
    if not PROC.joinpath("self").exists():
        return set()
    pids = {int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()} - {os.getpid()}
    return {pid for pid in pids if _is_ours(pid, f"{MARK}={mark}".encode())}


def end(pids: set[int], *, grace: float = GRACE_SECONDS) -> list[str]:
    """Kill those that do not end by themselves within a moment, and say what they were."""
    deadline = time.monotonic() + grace
    while (alive := {pid for pid in pids if _parent(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    descriptions = [f"{pid}: {_command(pid)}" for pid in sorted(alive)]
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return descriptions


def _is_ours(pid: int, mark: bytes) -> bool:
    parent = _parent(pid)
    if parent is None or ALLOWED in _command(pid):
        return False
    return parent == os.getpid() or mark in _read(pid, "environ").split(b"\0")


def _parent(pid: int) -> int | None:
    """None when it has ended, reaped or not."""
    status = _read(pid, "stat").rpartition(b")")[2].split()
    return None if not status or status[0] in (b"Z", b"X") else int(status[1])


def _command(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()[:200]


def _read(pid: int, name: str) -> bytes:
    try:
        return PROC.joinpath(str(pid), name).read_bytes()
    except OSError:
        return b""
