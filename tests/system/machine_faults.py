"""
A machine whose clock steps and whose disk stalls, under one process: `machine_faults.c`, compiled and preloaded.

    faults = MachineFaults(directory)
    server = ValkeyServer(directory / "valkey", program=faults.under(find_valkey()))
    faults.set(clock_seconds=60)
"""

import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["MachineFaults", "can_fault_machines"]

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = shutil.which("cc")


def can_fault_machines() -> bool:
    """Without a compiler these faults can't be made."""
    return COMPILER is not None


class MachineFaults:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings = directory / "machine-faults"
        self.set()
        self._library = directory / "machine-faults.so"
        if COMPILER is not None:
            subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True)

    def under(self, program: Path) -> Path:
        """A program that runs `program` on this machine; `program` itself where there is no compiler."""
        if COMPILER is None:
            return program
        script = self._directory / program.name
        script.write_text(
            f'#!/bin/sh\nMACHINE_FAULTS="{self._settings}" LD_PRELOAD="{self._library}" exec "{program}" "$@"\n'
        )
        script.chmod(0o755)
        return script

    def set(self, *, clock_seconds: int = 0, sync_milliseconds: int = 0) -> None:
        """From now on; what is not named is as it should be."""
        with self._settings.open("r+b" if self._settings.exists() else "wb") as file:
            file.write(struct.pack("=qq", clock_seconds, sync_milliseconds))
