"""
Named places at which a test lets a process die as if by kill -9.

    POINDEXTER_FAILPOINT=after_insert_before_commit      the first time that place is reached
    POINDEXTER_FAILPOINT=after_confirm:3                 the third time

Only a process's `__main__` reads the variable. Unset, a place costs one comparison.
"""

import os
import signal

__all__ = ["Failpoints"]


class Failpoints:
    """`specification` is `name` or `name:nth`, nth from 1. Raises ValueError for anything else; empty = never."""

    def __init__(self, specification: str = "") -> None:
        self._name, _, nth = specification.partition(":")
        if nth and not (nth.isascii() and nth.isdigit() and int(nth)):
            raise ValueError(f"POINDEXTER_FAILPOINT is {specification!r}: after the colon stands a number, from 1")
        self._left = int(nth or 1)

    def reach(self, name: str) -> None:
        """Does not return when this is the place and the time to die."""
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
