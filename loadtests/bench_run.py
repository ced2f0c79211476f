"""What every section of a benchmark works with: the stack, one gateway, nginx beside it, and rounds of load."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.cores import on_cores
from loadtests.figures import Figure
from loadtests.load import Load, Report
from loadtests.nginx import Nginx
from loadtests.stack import Gateway, Stack

__all__ = ["PROXY", "BenchRun", "chat_body", "median_figure"]

PROXY = "proxy"
"""The watched group of the processes under test."""
PROMPT = "Say in plain words what this paragraph is about, and nothing else. " * 17


@dataclass(frozen=True, slots=True)
class BenchRun:
    stack: Stack
    gateway: Gateway
    nginx: Nginx | None
    seconds: float
    rounds: int

    def load(self, load: Load) -> Report:
        """Put the load on with a generator process of its own."""
        with on_cores(self.stack.cores.rest):
            result = subprocess.run(
                [sys.executable, "-m", "loadtests.load_generator"],
                input=load.encode(),
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parent.parent,
                check=True,
            )
        return Report.decode(result.stdout)

    def interleaved(self, sides: Sequence[Callable[[], Report]]) -> list[list[Report]]:
        """Every side once a round, so that what disturbs the machine disturbs all; a list of reports for each side."""
        reports: list[list[Report]] = [[] for _ in sides]
        for _ in range(self.rounds):
            for kept, side in zip(reports, sides, strict=True):
                kept.append(side())
        return reports


def chat_body(model: str, *, stream: bool) -> str:
    """A request of about 1.3 KB, as SDKs write it."""
    messages = [{"role": "system", "content": "You answer in one sentence."}, {"role": "user", "content": PROMPT}]
    document = {"model": model, "messages": messages, "max_completion_tokens": 256, "stream": stream}
    return json.dumps(document, separators=(",", ":"))


def median_figure(name: str, values: list[float], unit: str, note: str = "") -> Figure:
    return Figure(name=name, value=statistics.median(values), unit=unit, spread=(min(values), max(values)), note=note)
