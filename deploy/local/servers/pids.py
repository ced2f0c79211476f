"""Processes that are not our children: what a former run may have left behind."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

PROC = Path("/proc/self")
PS_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.02


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_line(pid: int) -> str:
    """Empty when there is no such process. Numbers are used again: look here before signalling one found in a file."""
    if PROC.exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""
    shown = subprocess.run(  # noqa: S603 a number is the only variable part
        ["/bin/ps", "-o", "args=", "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=PS_TIMEOUT_SECONDS,
        check=False,
    )
    return shown.stdout.strip()


def end_leftover(pid: int, *, marker: str, timeout: float) -> bool:
    """End a process of a former run: SIGTERM, then SIGKILL. Only if `marker` is part of its command line."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if pid <= 0 or marker not in command_line(pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_for_exit(pid, timeout):
            return True
    return False


def wait_for_exit(pid: int, timeout: float) -> bool:
    """Whether it has gone within `timeout` seconds. One that nobody reaps counts as gone: it has no command line."""
    deadline = time.monotonic() + timeout
    while command_line(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
