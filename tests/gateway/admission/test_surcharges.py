"""E5: what costs more than its tokens and has no price is refused before anything is sent."""

import json
from typing import Any

import pytest

from core.models.models_file import UNPRICED, Model, ModelsFile
from gateway.admission.surcharges import refuse_unpriced
from gateway.errors import InvalidRequest
from tests.gateway.dialects.replay import chat

MODELS = """
[providers.p]
schema = "openai"
base_url = "http://127.0.0.1"
api_key = "x"
[models.m]
context_tokens = 10_000
max_output_tokens = 2_000
price = {{ input = "1.00", output = "5.00" }}
tiers = {{ flex = {{ input = "0.50", output = "2.50" }} }}
allow_unpriced = {allowed}
targets = [{{ provider = "p", model = "m" }}]
"""
SURCHARGES: list[tuple[str, str, dict[str, Any]]] = [
    ("web_search", "web_search_options", {"web_search_options": {"search_context_size": "low"}}),
    ("web_search", "web_search_options", {"web_search_options": {}}),
    ("web_search", "search_parameters", {"search_parameters": {}}),
    ("web_search", "tools[0].type", {"tools": [{"type": "web_search"}]}),
    ("web_search", "tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("web_search", "search_parameters", {"search_parameters": {"mode": "on"}}),
    ("web_search", "enable_search", {"enable_search": True}),
    ("server_tools", "tools[1].type", {"tools": [{"type": "function"}, {"type": "code_interpreter"}]}),
    ("server_tools", "tools[0].type", {"tools": [{"type": "mcp"}]}),
    ("server_tools", "plugins", {"plugins": [{"id": "web"}]}),
    ("server_tools", "data_sources", {"data_sources": [{"type": "azure_search"}]}),
    ("audio", "modalities", {"modalities": ["text", "audio"], "audio": None}),
    ("audio", "audio", {"audio": {"voice": "alloy", "format": "mp3"}}),
    (
        "audio",
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA"}}]}]},
    ),
    ("images", "modalities", {"modalities": ["image"]}),
    ("server_tools", "mcp_servers", {"mcp_servers": [{"type": "url"}]}),
    ("server_tools", "container", {"container": "c_1"}),
    ("prediction", "prediction", {"prediction": {"type": "content", "content": "x"}}),
    ("routing", "models", {"models": ["openai/gpt-5-pro"]}),
    ("routing", "provider", {"provider": {"order": ["dear"]}}),
    ("routing", "route", {"route": "fallback"}),
    ("routing", "preset", {"preset": "x"}),
    ("routing", "speed", {"speed": "fast"}),
    ("routing", "inference_geo", {"inference_geo": "us"}),
]


def model(*allowed: str) -> Model:
    return ModelsFile.parse(MODELS.format(allowed=json.dumps(allowed)), {}).models["m"]


@pytest.mark.parametrize(("kind", "param", "fields"), SURCHARGES)
def test_a_surcharge_without_a_price_is_refused_unless_the_models_file_allows_it(
    kind: str, param: str, fields: dict[str, Any]
) -> None:
    request = chat(**fields)

    with pytest.raises(InvalidRequest) as caught:
        refuse_unpriced(request, model())

    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")
    refuse_unpriced(request, model(kind))


def test_every_kind_of_surcharge_that_can_be_allowed_can_be_met() -> None:
    assert {kind for kind, _, _ in SURCHARGES} == set(UNPRICED)


@pytest.mark.parametrize("tier", ["priority", "batch", "fast", "x" * 5_000])
def test_a_service_tier_without_a_price_is_refused(tier: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        refuse_unpriced(chat(service_tier=tier), model(*UNPRICED))

    assert caught.value.param == "service_tier"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"modalities": ["text"]},
        {"tools": [{"type": "custom"}, 7]},
        {"plugins": [], "provider": {}},
        {"web_search_options": None, "enable_search": False},
    ],
)
@pytest.mark.parametrize("tier", [None, "auto", "default", "standard_only", "flex"])
def test_ordinary_requests_pass(fields: dict[str, Any], tier: str | None) -> None:
    refuse_unpriced(chat(service_tier=tier, **fields), model())


def test_a_prediction_is_free_where_it_is_ignored() -> None:
    claude = MODELS.replace('"openai"', '"anthropic"').format(allowed="[]")

    refuse_unpriced(chat(prediction={"type": "content", "content": "x"}), ModelsFile.parse(claude, {}).models["m"])


@pytest.mark.parametrize(
    "asked",
    [
        {"speed": "standard", "inference_geo": "global"},
        {"tools": [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"}]},
    ],
    ids=["the usual price", "tools that run at the client"],
)
def test_what_costs_nothing_beside_its_tokens_passes(asked: dict[str, Any]) -> None:
    refuse_unpriced(chat(**asked), model())
