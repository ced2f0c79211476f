"""
Logs of processes that run for weeks, kept small: a large one is copied to `<name>.log.1`, in place of the copy before,
and emptied. The process goes on writing to the same file; what it writes between the two steps is lost.
"""

import os
import shutil
from pathlib import Path

__all__ = ["rotate_when_large"]

MAX_LOG_BYTES = 20 * 1024 * 1024


def rotate_when_large(log: Path, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """True when it was. Every writer must append (O_APPEND). Raises OSError."""
    if not log.exists() or log.stat().st_size <= max_bytes:
        return False
    copy = log.with_name(f"{log.name}.1")
    shutil.copyfile(log, copy)
    copy.chmod(0o600)
    os.truncate(log, 0)
    return True
