"""What import contracts cannot see: a clock or randomness inside a module that may be imported."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, name, tree

CLOCKS_AND_DICE = {"now", "today", "utcnow", "uuid1", "uuid4", "uuid7", "urandom", "read_text", "write_text"}


def _pure_files() -> list[Path]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [modules] = [one["source_modules"] for one in contracts if one["name"].startswith("Decisions are pure")]
    paths = [ROOT / module.replace(".", "/") for module in modules]
    return [file for path in paths for file in (sorted(path.rglob("*.py")) or [path.with_suffix(".py")])]


@pytest.mark.parametrize("file", _pure_files(), ids=name)
def test_a_decision_asks_no_clock_and_draws_no_random_number(file: Path) -> None:
    called = {node.func for node in ast.walk(tree(file)) if isinstance(node, ast.Call)}
    names = {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in called}

    assert names & CLOCKS_AND_DICE == set()
    assert not any(isinstance(one, ast.Name) and one.id == "open" for one in called)
