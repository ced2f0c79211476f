import re
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, modules, name, strings

WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|COPY|ALTER\s+TABLE|DROP\s+TABLE)\s+"
    r"(?:IF\s+EXISTS\s+)?\"?(\w+)"
)
CREATED = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(")


def _owners() -> dict[str, str]:
    """Table → the one package that writes it, from ARCHITECTURE.md, "Who owns what"."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## Who owns what")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")]
    return {
        table: writer.strip(" `").partition(".")[0].partition(" ")[0]
        for things, writer in rows
        for table in re.findall(r"`([a-z_]+)`", things)
    }


OWNERS = _owners()


@pytest.mark.parametrize("file", modules(*PACKAGES), ids=name)
def test_a_table_is_written_by_its_owner_alone(file: Path) -> None:
    package = name(file).partition("/")[0]
    written = {table for text in strings(file) for table in WRITES.findall(text)} & set(OWNERS)

    assert {table for table in written if OWNERS[table] != package} == set()


def test_every_table_has_an_owner() -> None:
    schema = "".join(file.read_text() for file in (ROOT / "core" / "postgres" / "schema").glob("*.sql"))

    assert set(CREATED.findall(schema)) <= set(OWNERS)
    assert set(OWNERS.values()) <= set(PACKAGES)


def test_the_search_for_writers_finds_them() -> None:
    found = {table for file in modules(*PACKAGES) for text in strings(file) for table in WRITES.findall(text)}

    assert {"accounts", "api_keys", "usage_events", "usage_daily", "usage_periods", "usage_dead_letters"} <= found
