"""The figures as a table for people and as JSON for later comparison."""

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import orjson

from loadtests.figures import Figure

__all__ = ["machine", "save", "table"]

RESULTS = Path(__file__).parent / "results"


def table(figures: Iterable[Figure]) -> str:
    """Markdown, so that it can be pasted where it is discussed."""
    head = ("figure", "value", "unit", "rounds", "bar", "reached", "remarks")
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def save(figures: Iterable[Figure], remarks: dict[str, str], name: str = "bench") -> Path:
    """Written to loadtests/results, which is not kept in git."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    file = RESULTS / f"{now:%Y-%m-%dT%H%M%S}-{name}.json"
    rows = [asdict(figure) | {"bar": str(figure.bar or ""), "reached": figure.reached} for figure in figures]
    document = {"time": now, "machine": machine(), "remarks": remarks, "figures": rows}
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return file


def machine() -> str:
    """With the interpreter's origin: one built without profile-guided optimisation is up to a third slower."""
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()} of {sys.base_prefix}"
    )


def _row(figure: Figure) -> tuple[str, ...]:
    rounds = " … ".join(_number(bound) for bound in figure.spread) if figure.spread else ""
    verdict = {True: "yes", False: "NO", None: "not judged" if figure.not_judged else ""}[figure.reached]
    remarks = "; ".join(filter(None, (figure.not_judged, figure.note)))
    return (figure.name, _number(figure.value), figure.unit, rounds, str(figure.bar or ""), verdict, remarks)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}" if abs(value) < 100 else f"{value:.0f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
