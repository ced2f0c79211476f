"""The upper bound of a request: what admission reserves."""

import json
from typing import Any

import pytest

from core.models_file import Model, ModelsFile
from gateway.chat_request import ChatRequest
from gateway.demand import FEWEST_OUTPUT_TOKENS, LIKELY_PERCENT, Demand
from gateway.token_estimate import estimate_input

MODELS = """
[providers.p]
schema = "openai"
base_url = "http://127.0.0.1"
api_key = "x"
[models.m]
context_tokens = 10_000
max_output_tokens = 2_000
default_output_tokens = 500
tokenizer = "claude"
price = { input = "1.00", cache_read = "0.10", cache_write_1h = "2.00", output = "5.00", reasoning = "7.00" }
targets = [{ provider = "p", model = "m" }]
"""


@pytest.fixture(scope="module")
def model() -> Model:
    return ModelsFile.parse(MODELS, {}).models["m"]


def chat(**more: Any) -> ChatRequest:
    return ChatRequest.parse(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}).encode()
    )


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        ({}, 500),  # F59: the model's default, not all that is left.
        ({"max_tokens": 70}, 70),
        ({"max_completion_tokens": 80}, 80),
        ({"max_tokens": 80, "max_completion_tokens": 80}, 80),
        ({"max_tokens": 2_000}, 2_000),
        ({"max_tokens": 10**15}, 2_000),  # F61
        ({"max_tokens": 1}, 1),
    ],
)
def test_the_output_is_bounded_by_the_client_or_by_the_model(
    model: Model, request_: dict[str, Any], tokens: int
) -> None:
    assert Demand.of(chat(**request_), model).output_tokens == tokens


def test_before_the_answer_every_token_is_in_the_dearest_class(model: Model) -> None:
    """F63: cache writes for an hour, and reasoning."""
    request_ = chat(max_tokens=100)
    demand = Demand.of(request_, model)

    assert demand.input_tokens == estimate_input(request_, "claude")
    assert demand.input_cost == demand.input_tokens * 2_000
    assert demand.output_cost == 7_000
    assert demand.cost == demand.input_cost + 100 * 7_000


def test_every_choice_is_reserved(model: Model) -> None:
    demand = Demand.of(chat(max_tokens=100, n=3), model)

    assert demand.choices == 3
    assert demand.output_tokens == 100
    assert demand.output_cost == 3 * 7_000


@pytest.mark.parametrize(("wanted", "fewest"), [(1, 1), (15, 15), (16, 16), (17, 16), (2_000, FEWEST_OUTPUT_TOKENS)])
def test_an_answer_is_worth_having_from_so_many_tokens_on(model: Model, wanted: int, fewest: int) -> None:
    assert Demand.of(chat(max_tokens=wanted), model).fewest_output_tokens == fewest


def test_the_likely_input_is_a_part_of_the_bound(model: Model) -> None:
    demand = Demand.of(chat(), model)

    assert demand.likely_input_tokens == demand.input_tokens * LIKELY_PERCENT["claude"] // 100
