"""What a change of the models file does to the upstreams that are in use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from core.models.models_file import ModelsFileError
from gateway.errors import ModelNotFound
from gateway.upstreams.catalog import Catalog
from gateway.upstreams.circuit_breaker import CircuitBreaker
from gateway.upstreams.upstream import Obstacle
from tests.harness.waiting import until_elsewhere

ACCOUNT = 1
FILE = """
[providers.acme]
schema = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "sk-a"
max_concurrency = {places}
"""
MODEL = """
[models.{name}]
context_tokens = 1000
max_output_tokens = 100
price = {{ input = "1.00", output = "1.00" }}
targets = [{{ provider = "acme", model = "{upstream}" }}]
"""


class File:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *, places: int = 1, **upstreams: str) -> None:
        models = [MODEL.format(name=name, upstream=upstream) for name, upstream in upstreams.items()]
        self.path.write_text(FILE.format(places=places) + "".join(models))


@pytest.fixture
def file(tmp_path: Path) -> File:
    file = File(tmp_path / "models.toml")
    file.write(kept="m-1", changed="m-2", removed="m-3")
    return file


def open_catalog(file: File) -> Catalog:
    return Catalog(file.path, {}, connect_seconds=1.0, breaker=CircuitBreaker())


@asynccontextmanager
async def followed(catalog: Catalog) -> AsyncIterator[None]:
    task = asyncio.create_task(catalog.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_upstream_lives_as_long_as_its_target_stays_the_same(file: File) -> None:
    catalog = open_catalog(file)
    kept, changed = catalog.model("kept").upstreams[0], catalog.model("changed").upstreams[0]

    async with followed(catalog):
        file.write(kept="m-1", changed="m-2-new", added="m-4")
        catalog.reload_soon()
        await until_elsewhere(lambda: "added" in catalog.models, "the new file")

    assert catalog.model("kept").upstreams[0] is kept
    assert catalog.model("changed").upstreams[0] is not changed
    assert catalog.model("changed").upstreams[0].target.model == "m-2-new"
    with pytest.raises(ModelNotFound):
        catalog.model("removed")


async def test_a_request_keeps_the_model_and_the_upstreams_that_it_began_with(file: File) -> None:
    catalog = open_catalog(file)
    under_way = catalog.model("removed")

    async with followed(catalog):
        file.write(kept="m-1")
        catalog.reload_soon()
        await until_elsewhere(lambda: "removed" not in catalog.models, "the new file")

    assert under_way.model.name == "removed"
    assert under_way.upstreams[0].obstacle(ACCOUNT) is None


async def test_another_number_of_places_holds_for_the_requests_that_are_under_way(file: File) -> None:
    catalog = open_catalog(file)
    upstream = catalog.model("kept").upstreams[0]
    upstream.take(ACCOUNT)
    before = upstream.obstacle(ACCOUNT)

    async with followed(catalog):
        file.write(places=2, kept="m-1")
        catalog.reload_soon()
        await until_elsewhere(lambda: "removed" not in catalog.models, "the new file")

    # The provider's settings are a part of the target: its new upstream counts what the old one still has under way.
    successor = catalog.model("kept").upstreams[0]
    assert before is Obstacle.FULL
    assert successor.obstacle(ACCOUNT) is None
    successor.take(ACCOUNT)
    assert successor.obstacle(ACCOUNT) is Obstacle.FULL


@pytest.mark.parametrize("text", ["[models", "", FILE.format(places=-1), FILE.format(places=1) + MODEL[:40]])
async def test_of_a_file_that_can_t_be_used_nothing_is_used(file: File, text: str) -> None:
    catalog = open_catalog(file)
    models, kept = catalog.models, catalog.model("kept")

    async with followed(catalog):
        file.path.write_text(text)
        catalog.reload_soon()
        await until_elsewhere(lambda: REGISTRY.get_sample_value("poindexter_models_file_valid") == 0, "a refusal")
        assert catalog.models is models
        assert catalog.model("kept") is kept
        file.write(kept="m-1", next="m-5")
        catalog.reload_soon()
        await until_elsewhere(lambda: "next" in catalog.models, "the new file")

    assert REGISTRY.get_sample_value("poindexter_models_file_valid") == 1
    assert catalog.model("kept").upstreams == kept.upstreams


def test_a_gateway_does_not_start_with_a_file_that_can_t_be_used(file: File) -> None:
    file.path.write_text("[models")

    with pytest.raises(ModelsFileError):
        open_catalog(file)


def test_the_client_is_told_where_the_models_are_listed(file: File) -> None:
    with pytest.raises(ModelNotFound, match="GET /v1/models") as caught:
        open_catalog(file).model("m" * 500)

    assert caught.value.param == "model"
    assert len(caught.value.message) < 200
