"""A child process that cannot outlive us, even when we are killed with -9."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = r"""
trap '' INT TERM HUP
read -r word && exit 0
kill -s "$2" "$1" 2>/dev/null || exit 0
tries=0
while [ $tries -lt "$3" ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL -- "-$1" 2>/dev/null
"""
"""
Waits for the end of its standard input, which comes when our process is gone, however it went; then ends the child.
Preferred to Linux's parent-death signal: that one follows the thread that started the child, and exists on Linux only.
"""

MINIMAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_BYTES_SHOWN = 16_384


class Child:
    """
    A running process, leader of its own process group: Ctrl-C at the terminal reaches only us, and we decide the order.

    Its output is appended to `log`. As root, `user` is the id it runs under. When our process disappears it receives
    `stop_signal`, and SIGKILL when it is still there `grace_seconds` later.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        log: Path,
        user: int | None = None,
        directory: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
    ) -> None:
        log.touch(mode=0o600)
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 the callers' tables name the commands
                [str(part) for part in command],
                env=dict(environment),
                cwd=directory,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._group_is_gone = False
        try:
            self._guard = _guard(self._process.pid, stop_signal, grace_seconds)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal, as in `subprocess`."""
        code = self._process.poll()
        if code is not None:
            self._dismiss_guard()
        return code

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.exit_code()

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout: float) -> bool:
        """Ask with `number`, insist with SIGKILL after `timeout` seconds. True when asking was enough."""
        if self.exit_code() is None:
            self.send(number)
            self.send(signal.SIGCONT)  # A paused process could not answer.
        went = self.wait(timeout) is not None
        self.kill()
        return went

    def kill(self) -> None:
        """SIGKILL for the process and everything it started in its group."""
        if self._group_is_gone:
            return  # Its number may belong to another process by now.
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies.
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._group_is_gone = True
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        if self._guard.returncode is None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin:
                self._guard.stdin.close()


def tail(log: Path, *, since: int = 0, lines: int = 15) -> str:
    """The last lines of a log after byte `since`, for a message to a person; empty when there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as opened:
        size = log.stat().st_size
        opened.seek(max(since if since <= size else 0, size - MAX_BYTES_SHOWN))  # Cut meanwhile: from its beginning.
        return "\n".join(opened.read().decode(errors="replace").splitlines()[-lines:])


def _guard(pid: int, stop_signal: signal.Signals, grace_seconds: float) -> subprocess.Popen[bytes]:
    tenths = str(round(grace_seconds * 10))
    return subprocess.Popen(  # noqa: S603 a constant script
        ["/bin/sh", "-c", GUARD, "poindexter-guard", str(pid), stop_signal.name.removeprefix("SIG"), tenths],
        env={"PATH": MINIMAL_PATH},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # What kills our group spares the guard.
    )
