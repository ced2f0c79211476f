import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import OUR_CODE, PACKAGES, modules, name, strings, tree

BANNED = re.compile(r"(^|_)(utils?|helpers?|common|misc|base|manager|v\d)(_|$)", re.IGNORECASE)
KEY_LITERAL = re.compile(r"\{s\d\d\}|^key:|:usage$|:leases$|:reservation:|^:?(account|key):\?? ?$")
TESTS = [file for file in modules("tests") if file.name.startswith("test_")]


def _names(file: Path) -> list[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [node.name for node in ast.walk(tree(file)) if isinstance(node, kinds)]


@pytest.mark.parametrize("file", modules(*OUR_CODE), ids=name)
def test_nothing_has_a_name_that_says_nothing(file: Path) -> None:
    names = [one for one in _names(file) if not one.startswith("test_")]  # A sentence may hold any word.
    words = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one).replace("base_url", "") for one in [file.stem, *names]]

    assert [one for one in words if BANNED.search(one)] == []
    assert [one for one in names if one.endswith("Handler")] == []


@pytest.mark.parametrize("file", modules(*PACKAGES, "tests"), ids=name)
def test_nothing_prints_and_nothing_waits_for_a_later_day(file: Path) -> None:
    calls = [node.func for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]

    assert [call for call in calls if isinstance(call, ast.Name) and call.id == "print"] == []
    assert re.findall(r"#\s*(?:TODO|FIXME|XXX)\b", file.read_text()) == []


@pytest.mark.parametrize("file", TESTS, ids=name)
def test_a_test_is_named_as_a_sentence(file: Path) -> None:
    tests = [one for one in _names(file) if one.startswith("test_")]

    assert [one for one in tests if len(one.split("_")) < 4] == []


@pytest.mark.parametrize("file", modules(*PACKAGES), ids=name)
def test_redis_keys_are_spelled_in_one_place(file: Path) -> None:
    if name(file) == "core/redis/keys.py":
        return
    assert [text for text in strings(file) if KEY_LITERAL.search(text)] == []
