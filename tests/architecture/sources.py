"""The source files of the repository, for tests that read code instead of running it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "gateway", "metering", "portal_api", "simulators", "deploy")
OUR_CODE = (*PACKAGES, "loadtests", "tests")


@cache
def modules(*packages: str) -> list[Path]:
    """Every Python file below these top-level directories, sorted."""
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def strings(file: Path) -> list[str]:
    """Every text of the file that is no docstring; the constant parts of an f-string count as one text."""
    root = tree(file)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(root)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(root):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else " ? " for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found.append(node.value)
    return found
