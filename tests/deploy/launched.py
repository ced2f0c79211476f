"""`poindexter up` as a real process, and a terminal's view of it; with stand-ins for our own services, or without."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from deploy.local.servers.ports import DEFAULT_PORTS
from tests.harness.ports import free_port
from tests.harness.waiting import PATIENCE_SECONDS, eventually

STANDINS = Path(__file__).parent / "standins"
POINDEXTER = Path(sys.executable).with_name("poindexter")
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Launched:
    def __init__(self, state: Path, command: Sequence[object], settings: Mapping[str, str]) -> None:
        self.state = state
        self.output = state.parent / f"output-{time.monotonic_ns()}"
        self.journal = state.parent / "journal"
        environment = {**os.environ, **settings, "STANDIN_JOURNAL": str(self.journal)}  # noqa: TID251 PATH and the like
        with self.output.open("wb") as output:
            inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests may run under `nohup`.
            try:
                self.process = subprocess.Popen(
                    [str(word) for word in command],
                    cwd=state.parent,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            finally:
                signal.signal(signal.SIGHUP, inherited)

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def events(self) -> list[str]:
        """What the stand-ins noted, without their process ids."""
        return [line.rpartition(" ")[0] for line in self._lines()]

    def pid(self, name: str) -> int:
        """Of the latest life of a stand-in."""
        return next(int(line.split()[2]) for line in reversed(self._lines()) if line.startswith(f"{name} started"))

    def wait_for(self, text: str) -> None:
        try:
            eventually(lambda: text in self.text or self.process.poll() is not None, text)
        except AssertionError as late:
            raise AssertionError(f"{late}, in:\n{self.text}") from None
        assert text in self.text, f"ended before {text!r}:\n{self.text}"

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def press_ctrl_c(self) -> int:
        """As a terminal does it: everything in the foreground gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)

    def _lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


@contextlib.contextmanager
def launched(
    directory: Path, settings: Mapping[str, str] = NO_SETTINGS, *, port: int = 0, demo: str = "demo"
) -> Iterator[Launched]:
    """`settings` are environment variables. Stopped at the end if the test did not do it."""
    state = directory / "state"
    _avoid_default_ports(state)
    command = [sys.executable, STANDINS / "__main__.py", state, str(port or free_port()), demo]
    yield from _running(Launched(state, command, {**settings, "PYTHONPATH": str(STANDINS)}))


@contextlib.contextmanager
def launched_for_real(directory: Path, name: str = "state") -> Iterator[Launched]:
    """Its state directory is `name` in `directory`."""
    state = directory / name
    _avoid_default_ports(state)
    yield from _running(Launched(state, [POINDEXTER, "up", "--state-directory", state], NO_SETTINGS))


def _running(run: Launched) -> Iterator[Launched]:
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.send_signal(signal.SIGCONT)
            run.end()


def _avoid_default_ports(state: Path) -> None:
    """Somebody may run the real system on this machine, or these tests a second time."""
    if not state.exists():
        state.mkdir(mode=0o711)
        (state / "ports.json").write_text(json.dumps({name: free_port() for name in DEFAULT_PORTS}))
