import re
from pathlib import Path

import pytest

from gateway.dialects.anthropic.content_parts import PARTS
from gateway.dialects.anthropic.messages import BLOCKS
from gateway.dialects.anthropic.request import IGNORED, ONLY_AS_DEFAULT, PASSED_ON, TRANSLATED
from gateway.dialects.anthropic.stop_reasons import FINISH_REASONS
from gateway.dialects.anthropic.thinking import EFFORT
from tests.gateway.dialects.anthropic.test_request import PARAMETERS

PAGE = (Path(__file__).parents[3] / "docs" / "translation.md").read_text()
TESTED_ELSEWHERE = {"model", "messages", "max_tokens", "max_completion_tokens", "thinking", "reasoning"}
TESTED_ELSEWHERE |= {"reasoning_effort"}


def rows(heading: str) -> dict[str, str]:
    """First and second column of the table under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    _, _, body = section.partition("|---")
    return dict(re.findall(r"^\| `(\w+)` \| ?(.*?) ?\|", body, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Parameters", {*TRANSLATED, *PASSED_ON, *IGNORED, *ONLY_AS_DEFAULT}),
        ("Messages", {"system", "developer", *BLOCKS}),
        ("Content parts", set(PARTS)),
        ("Reasoning", {"none", *EFFORT}),
        ("Answers", set(FINISH_REASONS)),
    ],
)
def test_the_page_has_a_row_for_everything_that_is_translated_and_for_nothing_else(
    heading: str, names: set[str]
) -> None:
    assert set(rows(heading)) == names


def test_every_parameter_of_the_page_has_a_test() -> None:
    tested = {name for fields, _ in PARAMETERS for name in fields}

    assert set(rows("Parameters")) - tested - TESTED_ELSEWHERE == set()


def test_the_page_says_what_the_tables_do() -> None:
    assert {name: re.findall(r"`(\w+)`", row)[0] for name, row in rows("Answers").items()} == FINISH_REASONS
    assert {name: row.strip("`") for name, row in rows("Reasoning").items() if name != "none"} == EFFORT
    assert all(row == f"`{name}`" for name, row in rows("Parameters").items() if name in PASSED_ON)
    assert all(row == "" for name, row in rows("Parameters").items() if name in (*IGNORED, *ONLY_AS_DEFAULT))
