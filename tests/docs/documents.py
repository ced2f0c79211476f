"""The commands that the project's documents name, as a reader would type them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Command", "commands", "documents", "fenced"]

ROOT = Path(__file__).parents[2]
PROGRAMS = ("make", "poindexter", ".venv/bin/poindexter", ".ci/run", "docker", "curl", "openssl", "python", "git", "sh")
FENCED = re.compile(r"```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
COMMENT = re.compile(r"\s+#.*$")
IN_CONTAINER = re.compile(r"^docker compose exec (?:-T )?\S+ (?=poindexter )")


@dataclass(frozen=True, slots=True)
class Command:
    document: str
    text: str
    """One line, without comment."""

    @property
    def words(self) -> list[str]:
        """Of a `poindexter` command wherever it runs: the command itself."""
        text = IN_CONTAINER.sub("", self.text).replace(".venv/bin/poindexter", "poindexter")
        return text.split()

    def __str__(self) -> str:
        return f"{self.document}: {self.text}"


def documents() -> list[Path]:
    """Every page that people read."""
    folders = ("", "deploy", "docs", "docs/decisions", "loadtests")
    return sorted(page for folder in folders for page in (ROOT / folder).glob("*.md"))


def fenced(page: Path, language: str) -> list[str]:
    return [match["text"] for match in FENCED.finditer(page.read_text()) if match["language"] == language]


def commands() -> list[Command]:
    """Each once, in the order of the documents."""
    found = {(page.name, text): Command(page.name, text) for page in documents() for text in _lines(page)}
    return list(found.values())


def _lines(page: Path) -> Iterator[str]:
    for block in fenced(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from _command(COMMENT.sub("", line.strip()))
    prose = FENCED.sub("", page.read_text())
    for match in INLINE.finditer(prose):
        yield from _command(" ".join(match[1].split()))


def _command(text: str) -> Iterator[str]:
    """Prose also quotes names and settings; a command begins with a program and says what it should do."""
    words = text.split()
    if len(words) > 1 and words[0] in PROGRAMS and "…" not in text.split("Bearer")[0]:
        yield text
