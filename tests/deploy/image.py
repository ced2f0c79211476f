"""deploy/Dockerfile as text: its instructions, and what they copy from the source tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "deploy", "gateway", "metering", "portal_api", "simulators")


def stages() -> list[list[tuple[str, str]]]:
    """For each FROM, its instructions: word and the rest of the line, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    instructions = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
    starts = [number for number, (word, _) in enumerate(instructions) if word == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def copied() -> set[str]:
    """Paths of the source tree that reach the build."""
    sources = set()
    for stage in stages():
        for word, rest in stage:
            if word == "COPY" and "--from" not in rest:
                sources |= set(rest.split()[:-1])
    return sources


def ignored_but() -> set[str]:
    """What .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return {line[1:] for line in lines if line.startswith("!")}
