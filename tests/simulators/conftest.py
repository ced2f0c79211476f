"""One simulated upstream per module; each test finds it empty and must leave nothing unexpected behind."""

from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.harness.simulated_upstream import SimulatedUpstream

API_KEY = "sk-sim-test"


@pytest.fixture(scope="module")
def upstream_process() -> Iterator[SimulatedUpstream]:
    upstream = SimulatedUpstream.start(api_keys=(API_KEY, "sk-sim-second"))
    yield upstream
    upstream.stop()


@pytest.fixture
def lenient_upstream(upstream_process: SimulatedUpstream) -> SimulatedUpstream:
    """For tests that send what a provider refuses."""
    upstream_process.clear()
    return upstream_process


@pytest.fixture
def upstream(lenient_upstream: SimulatedUpstream) -> Iterator[SimulatedUpstream]:
    yield lenient_upstream
    assert lenient_upstream.unexpected() == []


@pytest.fixture
def openai(upstream_process: SimulatedUpstream) -> Iterator[OpenAI]:
    with OpenAI(api_key=API_KEY, base_url=upstream_process.openai_url, max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def anthropic(upstream_process: SimulatedUpstream) -> Iterator[Anthropic]:
    with Anthropic(api_key=API_KEY, base_url=upstream_process.anthropic_url, max_retries=0, timeout=10) as client:
        yield client
