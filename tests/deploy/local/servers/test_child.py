import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.servers.child import Child, tail
from deploy.local.servers.pids import command_line, wait_for_exit
from tests.harness.waiting import eventually

SLEEPS = "import time; time.sleep(60)"
IGNORES_SIGTERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
HAS_A_WORKER = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, '-c', '{SLEEPS}']).pid, flush=True)
time.sleep(60)
"""


def child(code: str, log: Path) -> Child:
    return Child([sys.executable, "-c", code], environment={}, log=log)


def wait_for_text(log: Path) -> str:
    eventually(lambda: tail(log), "output")
    return tail(log)


def test_stopping_asks_first(tmp_path: Path) -> None:
    process = child(SLEEPS, tmp_path / "log")

    asked_successfully = process.stop(timeout=10)

    assert asked_successfully
    assert process.exit_code() == -signal.SIGTERM


def test_stopping_insists_after_the_time_out(tmp_path: Path) -> None:
    process = child(IGNORES_SIGTERM, tmp_path / "log")
    wait_for_text(tmp_path / "log")

    asked_successfully = process.stop(timeout=0.1)

    assert not asked_successfully
    assert process.exit_code() == -signal.SIGKILL


def test_killing_takes_what_the_child_started_along(tmp_path: Path) -> None:
    process = child(HAS_A_WORKER, tmp_path / "log")
    worker = int(wait_for_text(tmp_path / "log"))

    process.kill()

    assert wait_for_exit(worker, timeout=5)


def test_the_guard_goes_with_its_child(tmp_path: Path) -> None:
    process = child("pass", tmp_path / "log")

    exit_code = process.wait(10)

    assert exit_code == 0
    assert not command_line(process.guard_pid)


@pytest.mark.parametrize("code", [SLEEPS, IGNORES_SIGTERM], ids=["willing", "unwilling"])
def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path, code: str) -> None:
    parent_code = (
        "import sys; from pathlib import Path; from deploy.local.servers.child import Child; "
        "log, code = Path(sys.argv[1]), sys.argv[2]; "
        "child = Child([sys.executable, '-c', code], environment={}, log=log, grace_seconds=0.5); "
        "print(child.pid, flush=True); input()"
    )
    command = [sys.executable, "-c", parent_code, str(tmp_path / "log"), code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        if code == IGNORES_SIGTERM:
            wait_for_text(tmp_path / "log")

        parent.kill()

    assert wait_for_exit(pid, timeout=15)


def test_a_log_is_private_and_its_end_can_be_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child("print('\\n'.join(f'line {number}' for number in range(100)))", log).wait(10)

    assert log.stat().st_mode & 0o077 == 0
    assert tail(log, lines=2) == "line 98\nline 99"
    assert tail(log, since=log.stat().st_size) == ""
