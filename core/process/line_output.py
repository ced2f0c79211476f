"""
Whole lines to a descriptor that may be full, closed or blocked: what can't be written is lost and counted, and neither
ends nor stops the process that wanted to say it.
"""

import os
import select
import sys
import time
from collections.abc import Iterable, Iterator

__all__ = ["LineOutput", "standard_output"]


def standard_output() -> int:
    """Its descriptor; of nothing where it was closed: by now, the number may be that of a connection."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stdout is None else sys.stdout.fileno()


class LineOutput:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn = False
        """A line was perhaps written in part, by us or by another worker: the next one must not run into it."""

    def write(self, lines: Iterable[bytes], *, patience_seconds: float) -> int:
        """Each line ends with LF. Returns how many were lost, within `patience_seconds` even when nothing is read."""
        deadline = time.monotonic() + patience_seconds
        return sum(piece.count(b"\n") for piece in _pieces(lines) if not self._write(piece, deadline))

    def _write(self, piece: bytes, deadline: float) -> bool:
        rest = b"\n" + piece if self._torn else piece
        writable = select.poll()
        writable.register(self._descriptor, select.POLLOUT)
        begun = self._torn
        while rest:
            try:
                if not writable.poll(max(0, round((deadline - time.monotonic()) * 1000))):
                    break
                written = os.write(self._descriptor, rest[: select.PIPE_BUF])  # As much as poll has promised.
            except OSError:  # A full disk, a reader that has gone: the next line is tried all the same.
                begun = True
                break
            begun = True
            rest = rest[written:]
        self._torn = bool(rest) and begun
        return not rest


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a pipe takes in one piece: the lines of several workers never run into each other."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
