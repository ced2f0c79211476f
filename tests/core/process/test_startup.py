"""What a process says when it can't start."""

import pytest

from core.process.exit_codes import WRONG_SETTINGS
from core.process.startup import refuse


def test_every_problem_has_its_line_and_no_supervisor_tries_again(capsys: pytest.CaptureFixture[str]) -> None:
    status = refuse("The gateway", ["A is missing", "B is no number"])

    assert capsys.readouterr().err == "The gateway can't start:\n  A is missing\n  B is no number\n"
    assert status == WRONG_SETTINGS == 78
