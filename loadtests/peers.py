"""
Other gateways, each installed apart from us (`.poindexter/peers/<name>`) and started with the least it can be started
with: one process, a key where it has keys, no database.
"""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.servers.child import Child, tail
from deploy.local.servers.ports import LOOPBACK, free_port

__all__ = ["PEERS", "Peer", "PeerMissing", "RunningPeer"]

DIRECTORY = Path(__file__).parents[1] / ".poindexter" / "peers"
INSTALL_SECONDS = 600.0
START_SECONDS = 90.0
KEY = "sk-bench"
LITELLM_CONFIGURATION = """
model_list:
{models}
general_settings:
  master_key: {key}
"""
LITELLM_MODEL = """
  - model_name: {name}
    litellm_params: {{model: openai/{name}, api_base: "http://{host}:{upstream}/v1", api_key: sk-mock}}
"""


class PeerMissing(Exception):
    """It can't be installed or started here; the message says why."""


@dataclass(frozen=True, slots=True)
class RunningPeer:
    port: int
    pid: int
    key: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    package: str
    ready_path: str

    @property
    def directory(self) -> Path:
        return DIRECTORY / self.name

    def install(self) -> str:
        """The installed version. Raises PeerMissing."""
        raise NotImplementedError

    def command(self, port: int, upstream: int, models: tuple[str, ...]) -> list[str]:
        raise NotImplementedError

    def headers(self, upstream: int) -> dict[str, str]:
        """What its clients have to send beside the key."""
        return {}

    @contextlib.contextmanager
    def running(self, upstream: int, models: tuple[str, ...]) -> Iterator[RunningPeer]:
        """Raises PeerMissing when it does not answer."""
        port, log = free_port(), self.directory / "output.log"
        environment = {**os.environ, **ENVIRONMENT}  # noqa: TID251  # PATH and certificates.
        child = Child(self.command(port, upstream, models), environment=environment, log=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port, self.ready_path):
                if child.exit_code() is not None or time.monotonic() > deadline:
                    raise PeerMissing(f"{self.name} does not start: {tail(log, lines=5)}")
                time.sleep(0.2)
            yield RunningPeer(port, child.pid, KEY, self.headers(upstream))
        finally:
            child.stop(signal.SIGTERM, timeout=5.0)


ENVIRONMENT = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NODE_ENV": "production",
    "TRUSTED_CUSTOM_HOSTS": f"{LOOPBACK},localhost",
}


class LiteLLM(Peer):
    def install(self) -> str:
        python = self.directory / "bin" / "python"
        if not (self.directory / "bin" / "litellm").exists():
            _run([sys.executable, "-m", "venv", str(self.directory)])
            _run([str(python), "-m", "pip", "install", "--quiet", self.package])
        version = "from importlib.metadata import version; print(version('litellm'))"
        return _run([str(python), "-c", version]).strip()

    def command(self, port: int, upstream: int, models: tuple[str, ...]) -> list[str]:
        configuration = self.directory / "config.yaml"
        rows = "".join(LITELLM_MODEL.format(name=name, host=LOOPBACK, upstream=upstream) for name in models)
        configuration.write_text(LITELLM_CONFIGURATION.format(models=rows, key=KEY))
        program = str(self.directory / "bin" / "litellm")
        return [program, "--config", str(configuration), "--host", LOOPBACK, "--port", str(port), "--num_workers", "1"]


class Portkey(Peer):
    def install(self) -> str:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            raise PeerMissing("no Node.js and npm on this machine")
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._program.exists():
            _run([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(self.directory), self.package])
        listed = self.directory / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        return listed.read_text().partition('"version": "')[2].partition('"')[0]

    def command(self, port: int, upstream: int, models: tuple[str, ...]) -> list[str]:
        return [shutil.which("node") or "node", str(self._program), f"--port={port}", "--headless"]

    def headers(self, upstream: int) -> dict[str, str]:
        return {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://{LOOPBACK}:{upstream}/v1"}

    @property
    def _program(self) -> Path:
        return self.directory / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


PEERS: tuple[Peer, ...] = (
    LiteLLM("litellm", "litellm[proxy]", "/health/liveliness"),
    Portkey("portkey", "@portkey-ai/gateway", "/"),
)


def _run(command: list[str]) -> str:
    try:
        result = subprocess.run(  # noqa: S603  # The commands of this file.
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{command[0]}: {error}") from error
    if result.returncode:
        raise PeerMissing(f"{' '.join(command[:4])} … failed: {result.stderr.strip()[-300:]}")
    return result.stdout


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
