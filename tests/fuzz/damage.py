"""Damages known inputs, replayably, for as long as one likes."""

import random
import sys
import time
from collections.abc import Callable, Sequence


class Fuzzer:
    """`check` raises AssertionError for a contradiction, and whatever the code under test should not raise."""

    def __init__(self, check: Callable[[bytes], None], corpus: Sequence[bytes], fragments: Sequence[bytes]) -> None:
        self._check = check
        self._corpus = corpus
        self._fragments = fragments

    def run(self, *, seconds: float, seed: int, most: int = sys.maxsize) -> int:
        """Fuzz until the time or the number of cases is up; returns how many were tried."""
        dice = random.Random(seed)
        end = time.monotonic() + seconds
        tried = 0
        while tried < most and time.monotonic() < end:
            self._check(self._damaged(dice))
            tried += 1
        return tried

    def _damaged(self, dice: random.Random) -> bytes:
        data = bytearray(dice.choice(self._corpus))
        for _ in range(dice.randrange(6)):
            at = dice.randrange(len(data) + 1)
            length = dice.randrange(1, 40)
            match dice.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = dice.choice(self._fragments)
                case _:
                    data[at:at] = data[at : at + length] * dice.randrange(1, 5)
        return bytes(data)
