"""A real gateway (`python -m gateway`, any number of workers) as a child process, with its admin port and its log."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.ports import free_port
from tests.harness.waiting import PATIENCE_SECONDS, eventually

SERVING = "gateway worker is serving"


class GatewayDidNotStart(RuntimeError):
    """The message is what the gateway said."""


class RunningGateway:
    """
    One gateway, started by `start()` and ended by `stop()` or `kill()`.

    `settings` are those of gateway/settings.py by their variables' names; ports and log are this object's business.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, admin_port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.admin_port = admin_port
        self.url = f"http://127.0.0.1:{port}"
        self.openai_url = f"{self.url}/v1"
        self.log = log
        self._admin = httpx.Client(base_url=f"http://127.0.0.1:{admin_port}", timeout=10, trust_env=False)

    @classmethod
    def start(
        cls,
        settings: Mapping[str, str],
        log: Path,
        *,
        workers: int = 1,
        redis: bool = True,
        preexec: Callable[[], None] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "gateway"),
        output: Path | None = None,
    ) -> "RunningGateway":
        """Returns when every worker serves and, unless `redis` is False, has its connection to Redis.

        `output` takes the log's lines (a full disk): then any worker that serves will do, and there is no log to read.
        `preexec` runs in the child before the gateway does (to lower a resource limit). Raises GatewayDidNotStart."""
        port, admin_port = free_port(), free_port()
        environment = {
            **os.environ,  # noqa: TID251  The child inherits ours: PATH, and the mark of this test run.
            **settings,
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMIN_PORT": str(admin_port),
            "GATEWAY_WORKERS": str(workers),
        }
        log.touch()
        with (output or log).open("ab") as lines:
            process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines, preexec_fn=preexec)
        gateway = cls(process, port, admin_port, log)
        gateway._wait_started(0 if output else workers, redis=redis)
        return gateway

    @property
    def worker_pids(self) -> list[int]:
        """Of every worker that has ever served, oldest first."""
        return [line["pid"] for line in self.log_lines() if line["message"] == SERVING]

    def log_lines(self, **wanted: Any) -> list[dict[str, Any]]:
        """The JSON lines so far that have these fields: `log_lines(request_id=...)`."""
        lines = [json.loads(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]

    def ready(self) -> dict[str, Any]:
        """`/readyz` of some worker, with its status code added."""
        answer = self._admin.get("/readyz")
        return {"status": answer.status_code, **answer.json()}

    def healthy(self) -> bool:
        return self._admin.get("/healthz").status_code == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name whose labels hold these; 0 when there is none yet."""
        families = text_string_to_metric_families(self._admin.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def resident_bytes(self) -> int:
        """Memory of the process that serves; of a gateway with one worker."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM, and the exit status. A gateway that does not end in time is killed and reported."""
        self._admin.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        """kill -9; also for one that has ended."""
        self._admin.close()
        self.process.kill()
        self.process.wait()

    def _wait_started(self, workers: int, *, redis: bool) -> None:
        def serves() -> bool:
            ended = self.process.poll() is not None
            return ended or (len(self.worker_pids) >= workers and self._answers(redis=redis))

        with contextlib.suppress(AssertionError):
            eventually(serves, "a gateway that serves", not_yet=httpx.TransportError)
            if self.process.poll() is None:
                return
        self.kill()
        raise GatewayDidNotStart(self.log.read_text()[-4000:])

    def _answers(self, *, redis: bool) -> bool:
        return self.metric("poindexter_redis_connected") == 1 if redis else self.healthy()
