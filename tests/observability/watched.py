"""A gateway, a metering process and a real Prometheus that scrapes them by deploy/'s own configuration."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.harness.installation import Installation
from tests.harness.ports import free_port
from tests.harness.waiting import eventually
from tests.observability.artefacts import PROMETHEUS

SCRAPE = "500ms"


class Prometheus:
    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def ready(self) -> bool:
        return self._client.get("/-/ready").status_code == 200

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of this moment. Raises AssertionError with Prometheus's own words."""
        answer = self._client.post("/api/v1/query", data={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        data = answer["data"]
        return list(data["result"]) if data["resultType"] == "vector" else [data["result"]]

    def value(self, expression: str) -> float:
        """Of the first sample; 0 when there is none."""
        samples = self.query(expression)
        return float(samples[0]["value"][1]) if samples else 0.0

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def close(self) -> None:
        self._client.close()


@contextmanager
def metering(installation: Installation) -> Iterator[int]:
    """A process of `python -m metering`; its admin port."""
    port = free_port()
    own = {"METERING_ADMIN_PORT": str(port)}
    with _running(
        [sys.executable, "-m", "metering"], installation.directory / "metering.log", own | installation.settings
    ):
        ready = f"http://127.0.0.1:{port}/readyz"
        eventually(
            lambda: httpx.get(ready, trust_env=False).status_code == 200, "metering", not_yet=httpx.TransportError
        )
        yield port


@contextmanager
def prometheus(program: str, directory: Path, targets: dict[str, int]) -> Iterator[Prometheus]:
    """deploy/prometheus as it is, but for `targets` (ports by job) and the time between looks."""
    port = free_port()
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    configuration["alerting"] = {}
    for job in configuration["scrape_configs"]:
        target = {"prometheus": port, **targets}[job["job_name"]]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    command = [
        *(program, f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    with ExitStack() as stack:
        stack.enter_context(_running(command, directory / "prometheus.log", {}))
        server = Prometheus(f"http://127.0.0.1:{port}")
        stack.callback(server.close)
        eventually(server.ready, "Prometheus", not_yet=httpx.TransportError)
        yield server


@contextmanager
def _running(command: list[str], log: Path, settings: dict[str, str]) -> Iterator[None]:
    with log.open("ab") as output:
        environment = {**os.environ, **settings}  # noqa: TID251  PATH and the mark of this test run.
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
