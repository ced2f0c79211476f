"""A real metering process, for tests that kill it."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.harness.waiting import until
from tests.metering.workbench import SHARDS

__all__ = ["MeteringProcess", "metering_process"]

RUN = "import sys; from metering.__main__ import main; sys.exit(main())"
SETTINGS = {
    "REDIS_SHARDS": str(SHARDS),
    "METERING_ADMIN_PORT": "0",
    "METERING_BATCH_SIZE": "50",
    "METERING_CLAIM_IDLE_SECONDS": "0.3",
    "METERING_SWEEP_INTERVAL_SECONDS": "0.05",
    "METERING_SWEEP_CONFIRM_SECONDS": "0",
}


class MeteringProcess:
    """`prelude` is Python that runs in the process before it starts: a test switches a guard off with it."""

    def __init__(self, database_url: str, redis_url: str, *, prelude: str = "", **environment: str) -> None:
        self._log = Path(tempfile.mkstemp(prefix="metering-", suffix=".log")[1])
        with self._log.open("w") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-c", f"{prelude}\n{RUN}"],
                env={"DATABASE_URL": database_url, "REDIS_URL": redis_url, **SETTINGS, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def exit_code(self) -> int | None:
        return self._child.poll()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(5)

    def hang_up(self) -> None:
        """SIGHUP, as the end of a terminal sends it."""
        self._child.send_signal(signal.SIGHUP)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._child.send_signal(signal.SIGTERM)
        await until(lambda: self.exit_code is not None)
        return self._child.returncode

    async def started(self) -> str:
        """The address of its admin port."""
        await until(lambda: '"admin"' in self.log)
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return str(next(line["admin"] for line in lines if "admin" in line))

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=5) as client:
            return await client.get(await self.started() + path)

    def discard(self) -> None:
        if self.exit_code is None:
            self.kill()
        self._log.unlink()


@asynccontextmanager
async def metering_process(
    database_url: str, redis_url: str, *, prelude: str = "", **environment: str
) -> AsyncIterator[MeteringProcess]:
    process = MeteringProcess(database_url, redis_url, prelude=prelude, **environment)
    try:
        yield process
    finally:
        process.discard()
