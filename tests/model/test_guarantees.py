"""docs/guarantees.md names tests and promises: all of them exist."""

import ast
import re
from pathlib import Path

from tests.architecture.sources import ROOT, modules, tree
from tests.model import endings, gateway, invariants, metering

PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_guarantees_name_exists() -> None:
    existing = set().union(*map(functions, modules("tests")))
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named - existing == set()
    assert len(named) > 10


def test_every_promise_that_the_guarantees_name_is_looked_for() -> None:
    known = set().union(*(vars(module) for module in (endings, gateway, invariants, metering)))
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE)) - {"METERING_SWEEP_CONFIRM_SECONDS"}

    assert named - known == set()
