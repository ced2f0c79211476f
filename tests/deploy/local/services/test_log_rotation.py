"""S23: the logs of `make run` grew without end."""

import os
from pathlib import Path

from deploy.local.servers.child import tail
from deploy.local.services.log_rotation import rotate_when_large


def test_a_large_log_is_copied_and_emptied_while_its_process_goes_on_writing(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"before\n" * 10)

        rotated = rotate_when_large(log, max_bytes=60)
        writer.write(b"after\n")

    assert rotated
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "gateway.log.1").read_bytes() == b"before\n" * 10
    assert (tmp_path / "gateway.log.1").stat().st_mode & 0o777 == 0o600


def test_a_small_log_and_one_that_is_not_there_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small.log").write_bytes(b"x")

    assert not rotate_when_large(tmp_path / "small.log", max_bytes=1)
    assert not rotate_when_large(tmp_path / "missing.log")
    assert os.listdir(tmp_path) == ["small.log"]  # noqa: PTH208


def test_the_end_of_a_log_that_was_emptied_is_shown_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("the reason\n")

    assert tail(log, since=1_000_000) == "the reason"
