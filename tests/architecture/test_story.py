import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, modules, name, tree

INITS = [file for file in modules(*PACKAGES) if file.name == "__init__.py"]


@pytest.mark.parametrize("file", INITS, ids=name)
def test_the_story_of_a_package_names_every_module_and_nothing_else(file: Path) -> None:
    story = ast.get_docstring(tree(file)) or ""
    packages = {init.parent.name for init in file.parent.glob("*/__init__.py")}
    names = {module.stem for module in file.parent.glob("*.py")} | packages

    assert set(re.findall(r"`(\w+)`", story)) == names - {"__init__", "__main__"}


@pytest.mark.parametrize("file", INITS, ids=name)
def test_a_package_holds_its_story_and_no_code(file: Path) -> None:
    assert len(tree(file).body) == 1


@pytest.mark.parametrize("file", [one for one in modules(*PACKAGES) if one not in INITS], ids=name)
def test_every_module_says_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(tree(file))
