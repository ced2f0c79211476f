"""
Signals that come while a gateway or one of its workers is only starting. Guards against B16 and B14, found in this
product.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.installation import Installation
from tests.harness.ports import free_port
from tests.harness.running_gateway import SERVING
from tests.harness.waiting import eventually

HANGUP = 1 << (signal.SIGHUP - 1)


@contextmanager
def starting(shared: Installation, log: Path, *, workers: int, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway that nobody waits for."""
    ports = {"GATEWAY_PORT": str(free_port()), "GATEWAY_ADMIN_PORT": str(free_port())}
    environment = {"PATH": "/usr/bin:/bin", **shared.settings, **ports, "GATEWAY_WORKERS": str(workers), **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def children(process: "subprocess.Popen[bytes]") -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def knows_hangup(pid: int) -> bool:
    """Blocked, ignored or caught: it does not end the process."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return any(int(fields[name], 16) & HANGUP for name in ("SigBlk", "SigIgn", "SigCgt"))


@pytest.mark.parametrize("started", [1, 2, 3])
def test_a_signal_to_stop_that_comes_while_a_worker_is_started_reaches_that_worker(
    shared: Installation, tmp_path: Path, started: int
) -> None:
    """The handler ran inside `Popen`: that worker never heard of it, and the parent waited for ever."""
    with starting(shared, tmp_path / "log", workers=3) as process:
        while len(children(process)) < started:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        status = process.wait(15)

    assert status == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_that_is_asked_for_during_the_start_ends_nobody(
    shared: Installation, tmp_path: Path, workers: int
) -> None:
    """SIGHUP killed a gateway that had not come to its handler yet."""
    log = tmp_path / "log"
    with starting(shared, log, workers=workers) as process:
        eventually(lambda: knows_hangup(process.pid), "a process that knows SIGHUP")
        while log.read_text().count(SERVING) < workers:
            assert process.poll() is None, log.read_text()
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        status = process.wait(15)

    assert (status, "worker died" in log.read_text()) == (0, False)


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "GATEWAY_ADMIN_PORT"])
def test_a_port_in_use_is_named_and_no_other(shared: Installation, tmp_path: Path, variable: str) -> None:
    """B14: whatever the system refused was blamed on both ports, or on the models file."""
    log = tmp_path / "log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with starting(shared, log, workers=1, **{variable: str(port)}) as process:
            status = process.wait(15)

    said = log.read_text()
    assert status == 1
    assert f"can't open 127.0.0.1:{port}: Address already in use" in said
    assert [name in said for name in ("set GATEWAY_PORT", "set GATEWAY_ADMIN_PORT")].count(True) == 1
    assert f"set {variable}." in said
    assert "GATEWAY_MODELS_FILE" not in said


def test_a_models_file_that_is_not_there_is_named(shared: Installation, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with starting(shared, log, workers=1, GATEWAY_MODELS_FILE="/nowhere/models.toml") as process:
        status = process.wait(15)

    assert (status, "/nowhere/models.toml" in log.read_text()) == (78, True)
