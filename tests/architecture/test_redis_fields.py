"""The table of fields in core/redis/keys.py against what the scripts read and write."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, tree

SCRIPTS = sorted((ROOT / "core" / "redis" / "lua").glob("*.lua"))
NO_SCOPE_FIELDS = {"cost", "tokens", "account", "key", "account_cap", "key_cap", "event", "e", "c", "w"}
"""Of reservations and of stream entries."""
HASH_COMMAND = re.compile(r"\bcall\('(?:HGET|HMGET|HSET|HINCRBY|HDEL)', (.*)")


def _documented() -> set[str]:
    table = ast.get_docstring(tree(ROOT / "core" / "redis" / "keys.py")) or ""
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    return {name.strip().replace("<period>", "") for row in rows[1:] for name in row.split(",")}


def _used(text: str) -> set[str]:
    code = "\n".join(line.partition("--")[0].rstrip() for line in text.splitlines())
    lines = re.sub(r",\n\s*", ", ", code)
    literals = {name for call in HASH_COMMAND.findall(lines) for name in re.findall(r"'([a-z_]+:?)'", call)}
    prefixes = set(re.findall(r"'([a-z]+:)' \.\.", lines))
    return (literals | prefixes) - NO_SCOPE_FIELDS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_uses_no_field_that_is_not_in_the_table(script: Path) -> None:
    assert _used(script.read_text()) <= _documented()


def test_every_field_of_the_table_is_used() -> None:
    used = {name for script in SCRIPTS for name in _used(script.read_text())}
    published = {"rpm", "tpm", "concurrency", "cap", "models", "expires_at", "status"}

    assert _documented() <= used | published
