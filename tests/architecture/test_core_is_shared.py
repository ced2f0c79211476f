import ast
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, modules, name, tree

ONE_USER_FOR_A_REASON = {
    "core.models.model_prices": "a part of core.models_file",
    "core.models.table_reader": "a part of core.models_file",
    "core.usage.event_id": "a part of core.usage.usage_event",
    "core.process.worker_loop": "every worker process runs on it; metering is the first",
}


def _imports(file: Path) -> set[str]:
    origins = [node for node in ast.walk(tree(file)) if isinstance(node, ast.ImportFrom)]
    froms = [name for one in origins for name in (one.module, *(f"{one.module}.{alias.name}" for alias in one.names))]
    plain = [alias.name for node in ast.walk(tree(file)) if isinstance(node, ast.Import) for alias in node.names]
    return {module for module in [*froms, *plain] if module}


@cache
def _imported_by(package: str) -> set[str]:
    return {module for file in modules(package) for module in _imports(file)}


@pytest.mark.parametrize("file", [one for one in modules("core") if one.name != "__init__.py"], ids=name)
def test_a_module_lives_in_core_only_if_two_packages_need_it(file: Path) -> None:
    module = name(file).removesuffix(".py").replace("/", ".")
    users = {package for package in PACKAGES if module in _imported_by(package)}

    assert (len(users) >= 2) is (module not in ONE_USER_FOR_A_REASON), users
