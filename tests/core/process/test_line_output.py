"""What can't be said is lost and counted, and ends nobody. Guards against B2, found in this product."""

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.process.line_output import LineOutput

LOGS = """
import logging
from core.process.logs import configure_logs
output = configure_logs()
lost = []
output.on_lost = lost.append
for number in range(100):
    logging.getLogger("test").warning("line %d", number)
raise SystemExit(len(lost) % 100)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    os.close(reader)


def test_lines_arrive_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines = [b"%04d %s\n" % (number, b"x" * 80) for number in range(500)]

    lost = LineOutput(writer).write(lines, patience_seconds=1)

    assert (os.read(reader, 1 << 20), lost) == (b"".join(lines), 0)


def test_a_line_longer_than_a_pipe_takes_at_once_arrives(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    line = b"x" * 3 * select.PIPE_BUF + b"\n"

    lost = LineOutput(writer).write([line], patience_seconds=1)

    assert (os.read(reader, 1 << 20), lost) == (line, 0)


def test_a_pipe_that_nobody_reads_is_given_up_and_used_again_when_somebody_does(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = LineOutput(writer)

    lost = output.write([b"x" * 1_000 + b"\n"] * 1_000, patience_seconds=0.05)
    arrived = os.read(reader, 1 << 20).count(b"\n")
    again = output.write([b"again\n"], patience_seconds=0.05)

    assert lost + arrived == 1_000
    assert (again, os.read(reader, 1 << 20)) == (0, b"again\n")


def test_a_pipe_whose_reader_has_gone_loses_lines_and_nothing_else() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    lost = LineOutput(writer).write([b"one\n", b"two\n"], patience_seconds=1)

    os.close(writer)
    assert lost == 2
    assert LineOutput(writer).write([b"closed\n"], patience_seconds=1) == 1


def test_a_full_disk_loses_lines_and_those_after_it_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    """A write that the disk took in part must not run into the next line."""
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("wb") as file:
        output = LineOutput(file.fileno())
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
        try:
            lost = output.write([b"%04d %s\n" % (number, b"x" * 4090) for number in range(3)], patience_seconds=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        again = output.write([b"again\n"], patience_seconds=1)

    assert (lost, again) == (3, 0)
    assert path.read_bytes().split(b"\n")[1:] == [b"again", b""]


@pytest.mark.parametrize("output", ["/dev/full", "closed pipe", "closed"])
def test_a_process_whose_output_fails_goes_on_and_ends_well(output: str) -> None:
    """The structured logs of every process: the gateway's, its parent's, metering's."""
    reader, writer = os.pipe()
    if output == "/dev/full":
        os.close(writer)
        writer = os.open(output, os.O_WRONLY)
    os.close(reader)
    shell = 'exec "$0" "$@" >&-' if output == "closed" else 'exec "$0" "$@"'

    ran = subprocess.run(
        ["sh", "-c", shell, sys.executable, "-c", LOGS], stdout=writer, stderr=subprocess.PIPE, timeout=30
    )

    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_the_first_line_after_lost_ones_says_how_many(tmp_path: Path) -> None:
    """And a line that could not be written is no reason to write to the other channel."""
    program = """
import logging, os
from core.process.logs import configure_logs
reader, writer = os.pipe()
os.set_blocking(writer, False)
configure_logs(descriptor=writer)
log = logging.getLogger("test")
while select.select([], [writer], [], 0)[1]:
    os.write(writer, b" " * 65536)
for _ in range(7):
    log.warning("lost")
os.read(reader, 1 << 20)
log.warning("found")
os.write(1, os.read(reader, 1 << 20))
""".replace("import logging, os", "import logging, os, select")

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)

    notice, line = (json.loads(text) for text in ran.stdout.splitlines())
    assert (notice["message"], notice["lines"], notice["level"]) == ("log lines were lost", 7, "warning")
    assert (line["message"], ran.stderr) == ("found", b"")
