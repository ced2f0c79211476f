"""
Ports for servers that are told their number before they listen on it.

The kernel's choice of a free one may be the same for two test processes, or for one of their own connections, while the
first server is still starting. Here each process has a range of its own, below those that the kernel gives away.
"""

import fcntl
import os
import tempfile
from functools import cache
from itertools import cycle
from pathlib import Path

from deploy.local.servers.ports import is_taken

__all__ = ["free_port"]

RANGES = range(10_000, 32_000, 100)


def free_port() -> int:
    return _own_range().free_port()


class PortRange:
    """Ports that no other test process of this machine takes as long as this one lives."""

    def __init__(self) -> None:
        first = next(first for first in RANGES if _take(first))
        self._ports = cycle(range(first, first + RANGES.step))

    def free_port(self) -> int:
        return next(port for port in self._ports if not is_taken(port))


@cache
def _own_range() -> PortRange:
    return PortRange()


def _take(first: int) -> bool:
    """Whether the range that begins here is ours now: the kernel unlocks the file when we end, however we end."""
    try:
        lock = os.open(Path(tempfile.gettempdir()) / f"poindexter-test-ports-{first}", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        return False  # Another user's.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True
