"""
The models file in use, and the upstreams made from it. A change on disk is taken up within two seconds, or at once on
SIGHUP; a file that can't be used, for whatever reason, is reported and the one before keeps serving. Circuits of
unchanged targets live on, and so do requests under way: each has its `RoutedModel`, which no reload changes.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.models.models_file import Model, ModelsFile, ModelsFileError, Provider, Target
from gateway.errors import ModelNotFound
from gateway.records import metrics
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.upstream import Places, Upstream

__all__ = ["Catalog", "RoutedModel"]

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class RoutedModel:
    """A model and who answers for it, as one version of the file says. A request takes it once."""

    model: Model
    upstreams: tuple[Upstream, ...]


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
        self._places: dict[str, Places] = {}
        self._stamp: tuple[int, int] = (0, 0)
        self._reload = asyncio.Event()
        self._routed: Mapping[str, RoutedModel] = {}
        self.models: Mapping[str, Model] = {}
        self._load()

    def model(self, name: str) -> RoutedModel:
        """Raises ModelNotFound."""
        routed = self._routed.get(name)
        if routed is None:
            raise ModelNotFound(
                f"The model {name[:100]!r} does not exist; GET /v1/models lists the models.", param="model"
            )
        return routed

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
            self._reload_now()

    def _reload_now(self) -> None:
        try:
            self._load()
            log.info("models file loaded", extra={"file": str(self._path), "models": len(self.models)})
        except (ModelsFileError, OSError) as error:
            metrics.MODELS_FILE_VALID.set(0)
            log.error("models file refused; the one before keeps serving", extra={"problems": str(error)})  # noqa: TRY400
        except Exception:  # A mistake in the file, or in how we read it, must never end a process that serves.
            metrics.MODELS_FILE_VALID.set(0)
            log.exception("models file not understood; the one before keeps serving")

    def _load(self) -> None:
        self._stamp = self._stamp_on_disk()  # Before reading: a change during the reading is seen next time.
        file = ModelsFile.read(self._path, self._environment)
        places = {name: self._places.get(name) or Places(0) for name in file.providers}
        targets = {target for model in file.models.values() for target in model.targets}
        upstreams = {target: self._upstreams.get(target) or self._make(target, places) for target in targets}
        # Nothing below can fail: either all of the file is in use, or nothing of it.
        for name, provider in file.providers.items():
            places[name].maximum = provider.max_concurrency
        for target in self._upstreams.keys() - targets:
            self._upstreams[target].retire()
        self._places, self._upstreams, self.models = places, upstreams, file.models
        self._routed = {
            name: RoutedModel(model, tuple(upstreams[target] for target in model.targets))
            for name, model in file.models.items()
        }
        metrics.MODELS_FILE_VALID.set(1)

    def _make(self, target: Target, places: Mapping[str, Places]) -> Upstream:
        provider: Provider = target.provider
        return Upstream(target, places[provider.name], connect_seconds=self._connect_seconds, breaker=self._breaker)

    def _stamp_on_disk(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)
