"""
A gateway under cProfile: `python -m loadtests.profiled_gateway`, with the settings of `python -m gateway`.

When it ends it writes its statistics to `gateway.profile` in the spool's parent directory. The profiler costs about as
much as a small function: shares of large functions are exact, those of small ones are too big.
"""

import cProfile
import os
import sys
from pathlib import Path

from gateway.__main__ import main

__all__ = ["profile_file"]


def profile_file(spool: Path) -> Path:
    return spool.parent / "gateway.profile"


if __name__ == "__main__":
    profiler = cProfile.Profile()
    status = profiler.runcall(main)
    profiler.dump_stats(profile_file(Path(os.environ["GATEWAY_SPOOL_DIRECTORY"])))  # noqa: TID251
    sys.exit(status)
