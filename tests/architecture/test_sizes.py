import ast
from pathlib import Path

import pytest

from tests.architecture.sources import OUR_CODE, modules, name, tree

LONGEST_MODULE = 300
LONGEST_FUNCTION = 50
LONGER_FOR_A_REASON = {
    "gateway/app.py:open_gateway": "the one list of all parts, in the order in which they are built",
}
"""`file` or `file:function` and why it may be longer."""


@pytest.mark.parametrize("file", modules(*OUR_CODE), ids=name)
def test_a_module_is_read_in_one_sitting(file: Path) -> None:
    if name(file).startswith("tests/"):
        return  # A table of cases may be long.
    assert len(file.read_text().splitlines()) <= LONGEST_MODULE or name(file) in LONGER_FOR_A_REASON


@pytest.mark.parametrize("file", modules(*OUR_CODE), ids=name)
def test_a_function_fits_on_a_screen(file: Path) -> None:
    functions = [node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{name(file)}:{one.name}": (one.end_lineno or 0) - one.lineno + 1 for one in functions}

    too_long = {place for place, lines in lengths.items() if lines > LONGEST_FUNCTION}

    assert too_long <= set(LONGER_FOR_A_REASON)


def test_every_reason_is_still_needed() -> None:
    functions = {
        f"{name(file)}:{node.name}"
        for file in modules(*OUR_CODE)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert set(LONGER_FOR_A_REASON) <= functions | {name(file) for file in modules(*OUR_CODE)}
