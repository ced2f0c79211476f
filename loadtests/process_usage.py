"""CPU time and memory of processes, as Linux counts them in /proc."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "processes_below", "usage_of", "usage_of_groups"]

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    """User and system, of all threads."""
    rss_bytes: int


def usage_of(pids: Iterable[int]) -> Usage:
    """The sum over the processes; one that has ended counts nothing."""
    cpu, rss = 0.0, 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        rss += int(fields[21]) * PAGE_BYTES
    return Usage(cpu, rss)


def usage_of_groups(groups: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
    return {name: usage_of(pids) for name, pids in groups.items()}


def processes_below(pid: int) -> list[int]:
    """The process and everything it has started."""
    found = [pid]
    for parent in found:  # Grows while it is read.
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
