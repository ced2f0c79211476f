"""
The models file in use, and the upstreams made from it. A change on disk is taken up within two seconds, or at once on
SIGHUP; a file with problems is reported and the one before keeps serving. Circuits of unchanged targets live on.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from core.models_file import Model, ModelsFile, ModelsFileError, Target
from gateway import metrics
from gateway.circuit_breaker import CircuitBreaker
from gateway.errors import ModelNotFound
from gateway.upstreams import Upstream

__all__ = ["Catalog"]

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0


class Catalog:
    """Raises ModelsFileError or OSError from the constructor: a gateway does not start with a bad file."""

    def __init__(
        self, path: Path, environment: Mapping[str, str], *, connect_seconds: float, breaker: CircuitBreaker
    ) -> None:
        self._path = path
        self._environment = environment
        self._connect_seconds = connect_seconds
        self._breaker = breaker
        self._upstreams: dict[Target, Upstream] = {}
        self._stamp: tuple[int, int] = (0, 0)
        self._reload = asyncio.Event()
        self.models: Mapping[str, Model] = {}
        self._load()

    def model(self, name: str) -> Model:
        """Raises ModelNotFound."""
        model = self.models.get(name)
        if model is None:
            raise ModelNotFound(
                f"The model {name[:100]!r} does not exist; GET /v1/models lists the models.", param="model"
            )
        return model

    def upstream(self, target: Target) -> Upstream:
        return self._upstreams[target]

    def reload_soon(self) -> None:
        self._reload.set()

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._reload.wait()
            except TimeoutError:
                if self._stamp_on_disk() == self._stamp:
                    continue
            self._reload.clear()
            try:
                self._load()
                log.info("models file loaded", extra={"file": str(self._path), "models": len(self.models)})
            except (ModelsFileError, OSError) as error:
                metrics.MODELS_FILE_VALID.set(0)
                log.error("models file refused; the one before keeps serving", extra={"problems": str(error)})  # noqa: TRY400

    def _load(self) -> None:
        self._stamp = self._stamp_on_disk()  # Before reading: a change during the reading is seen next time.
        file = ModelsFile.read(self._path, self._environment)
        targets = {target for model in file.models.values() for target in model.targets}
        self._upstreams = {target: self._upstreams.get(target) or self._make(target) for target in targets}
        self.models = file.models
        metrics.MODELS_FILE_VALID.set(1)

    def _make(self, target: Target) -> Upstream:
        return Upstream(target, connect_seconds=self._connect_seconds, breaker=self._breaker)

    def _stamp_on_disk(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)
