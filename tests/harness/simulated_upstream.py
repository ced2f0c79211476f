"""The simulated providers as a real process, for every test that needs an upstream."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.harness.waiting import PATIENCE_SECONDS, eventually


class SimulatedUpstream:
    """
    One `python -m simulators`, started by `start()` and ended by `stop()`.

    Everything in it is shared by its users: tests that run side by side tell their calls apart by
    `x-client-request-id` or by a directive with an `id=` of their own.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.openai_url = f"{self.url}/openai/v1"
        self.anthropic_url = f"{self.url}/anthropic"
        self._control = httpx.Client(base_url=f"{self.url}/_control", timeout=10, trust_env=False)

    @classmethod
    def start(cls, *, record: Path | None = None, api_keys: tuple[str, ...] = ()) -> "SimulatedUpstream":
        """Start the process and wait until it accepts connections."""
        command = [sys.executable, "-m", "simulators", "--port", "0"]
        command += ["--record", str(record)] if record else []
        for api_key in api_keys:
            command += ["--api-key", api_key]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        return cls(process, _ready_port(process))

    def served(self, **wanted: str) -> list[dict[str, Any]]:
        """What was served, oldest first: `served(client_request_id=..., outcome="complete")`."""
        return self._read("served", wanted)

    def begun(self, **wanted: str) -> list[dict[str, Any]]:
        """Calls whose request has arrived, also those that are still being answered."""
        return self._read("begun", wanted)

    def refused(self, **wanted: str) -> list[dict[str, Any]]:
        """Calls that a script refused or cut before any part of an answer."""
        return self._read("refused", wanted)

    def unexpected(self, **wanted: str) -> list[dict[str, Any]]:
        """Calls that the real provider would have refused."""
        return self._read("unexpected", wanted)

    def wait_served(self, count: int, *, seconds: float = PATIENCE_SECONDS, **wanted: str) -> list[dict[str, Any]]:
        """What was served, as soon as it is `count` calls: abnormal ends are recorded when the server notices."""
        with contextlib.suppress(AssertionError):  # The caller's comparison says more.
            eventually(lambda: len(self.served(**wanted)) >= count, f"{count} calls", seconds=seconds)
        return self.served(**wanted)

    def fault(self, *, times: int = 1, match: dict[str, str] | None = None, **fault: Any) -> None:
        """Queue a fault: `fault(status=429, retry_after=1, match={"model": "gpt-4o"})`."""
        rule = {"times": times, "match": match or {}, "fault": fault}
        self._control.post("/faults", json=rule).raise_for_status()

    def clear(self) -> None:
        """Forget everything: record, failures, queued faults, cached prompts."""
        for name in ("begun", "served", "refused", "unexpected", "faults", "cache"):
            self._control.delete(f"/{name}").raise_for_status()

    def stop(self) -> None:
        self._control.close()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _read(self, name: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._control.get(f"/{name}", params=wanted)
        answer.raise_for_status()
        entries: list[dict[str, Any]] = answer.json()["data"]
        return entries


def _ready_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
    line = os.read(process.stdout.fileno(), 4096) if readable else b""
    if not line:
        process.kill()
        process.wait()
        raise RuntimeError(f"the simulators did not start within {PATIENCE_SECONDS:g} s")
    return int(json.loads(line)["port"])
