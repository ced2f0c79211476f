"""The upper bound of a request: what admission reserves."""

import json
from typing import Any

import pytest

from core.models.models_file import Model, ModelsFile
from gateway.admission.reservation_bound import LIKELY_PERCENT, MIN_OUTPUT_TOKENS, ReservationBound
from gateway.admission.token_estimate import estimate_input
from gateway.dialects.generation_request import GenerationRequest
from gateway.dialects.openai.chat_request import parse_chat
from gateway.errors import ContextTooLong
from tests.gateway.reserving import MODELS


@pytest.fixture(scope="module")
def model() -> Model:
    return ModelsFile.parse(MODELS, {}).models["m"]


def chat(**more: Any) -> GenerationRequest:
    return parse_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}).encode())


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
    assert ReservationBound.of(chat(**request_), model).output_tokens == tokens


def test_before_the_answer_every_token_is_in_the_dearest_class(model: Model) -> None:
    """F63: cache writes for an hour, and reasoning."""
    request_ = chat(max_tokens=100)
    demand = ReservationBound.of(request_, model)

    assert demand.input_tokens == estimate_input(request_, "claude")
    assert demand.input_cost == demand.input_tokens * 2_000
    assert demand.output_cost == 7_000
    assert demand.cost == demand.input_cost + 100 * 7_000


def test_every_choice_is_reserved(model: Model) -> None:
    demand = ReservationBound.of(chat(max_tokens=100, n=3), model)

    assert demand.choices == 3
    assert demand.output_tokens == 100
    assert demand.output_cost == 3 * 7_000


@pytest.mark.parametrize(("wanted", "fewest"), [(1, 1), (15, 15), (16, 16), (17, 16), (2_000, MIN_OUTPUT_TOKENS)])
def test_an_answer_is_worth_having_from_so_many_tokens_on(model: Model, wanted: int, fewest: int) -> None:
    assert ReservationBound.of(chat(max_tokens=wanted), model).min_output_tokens == fewest


def test_the_likely_input_is_a_part_of_the_bound(model: Model) -> None:
    demand = ReservationBound.of(chat(), model)

    assert demand.likely_input_tokens == demand.input_tokens * LIKELY_PERCENT["claude"] // 100


def sized(window: int, default: int = 16_384) -> Model:
    text = MODELS.replace("10_000", str(window)).replace("2_000", "64_000").replace("500", str(default), 1)
    return ModelsFile.parse(text, {}).models["m"]


@pytest.mark.parametrize(
    ("window", "input_tokens", "limit"),
    [
        (200_000, 100, 16_384),
        (32_000, 10_000, 16_384),
        (32_000, 20_000, 12_000),
        (32_000, 27_000, 5_000),
        (32_000, 29_000, 4_096),  # The bound leaves 3,000; ordinary text half the window.
        (32_000, 45_000, 2_150),
        (32_000, 60_000, 1_024),
        (4_000, 6_000, 1_000),
    ],
)
def test_c10_a_limit_that_nobody_asked_for_fits_the_window_beside_the_input(
    window: int, input_tokens: int, limit: int
) -> None:
    request_ = chat()
    padding = round((input_tokens - estimate_input(request_, "claude")) * 1.9)
    request_ = parse_chat(request_.raw.replace(b"Hi", b"Hi" + b" " * padding))

    demand = ReservationBound.of(request_, sized(window))

    assert demand.output_tokens == pytest.approx(limit, abs=20, rel=0.01)


def test_c10_a_limit_that_the_client_asked_for_is_its_own() -> None:
    request_ = chat(max_tokens=30_000, padding=" " * 50_000)

    assert ReservationBound.of(request_, sized(32_000)).output_tokens == 30_000


PRICED = """
tiers = { priority = { input = "2.00", output = "20.00" }, flex = { input = "0.10", output = "0.50" } }
long_input = { above_tokens = 1_000, price = { input = "9.00", output = "8.00" } }
"""


@pytest.mark.parametrize(
    ("tier", "padding", "input_price", "output_price"),
    [
        (None, 0, 2_000, 7_000),
        ("default", 0, 2_000, 7_000),
        ("flex", 0, 2_000, 7_000),  # It may be served as the usual tier.
        ("priority", 0, 2_000, 20_000),
        (None, 4_000, 9_000, 8_000),
        ("priority", 4_000, 9_000, 20_000),
    ],
)
def test_e5_e7_the_highest_price_that_may_be_charged_is_reserved(
    tier: str | None, padding: int, input_price: int, output_price: int
) -> None:
    model = ModelsFile.parse(MODELS.replace("targets =", f"{PRICED}targets ="), {}).models["m"]

    demand = ReservationBound.of(chat(service_tier=tier, padding=" " * padding), model)

    assert (demand.input_cost // demand.input_tokens, demand.output_cost) == (input_price, output_price)


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
DOCUMENT = {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}


@pytest.mark.parametrize("content", [[PICTURE] * 50, [DOCUMENT]])
def test_c10_e7_the_bound_of_pictures_and_documents_takes_no_room_from_the_answer(
    content: list[dict[str, Any]],
) -> None:
    request_ = chat(messages=[{"role": "user", "content": content}])

    assert ReservationBound.of(request_, sized(32_000)).output_tokens == 16_384


@pytest.mark.parametrize(("tokens", "fits"), [(60_000, True), (140_000, False)])
def test_e7_a_text_is_refused_only_where_it_can_not_fit(tokens: int, fits: bool) -> None:
    request_ = chat(padding=" " * (tokens * 19 // 10))

    if fits:
        assert ReservationBound.of(request_, sized(32_000)).input_tokens > tokens
        return
    with pytest.raises(ContextTooLong, match="reads at most 32000 tokens"):
        ReservationBound.of(request_, sized(32_000))


def test_e2_what_a_provider_may_report_is_bounded_by_the_bytes_unless_its_own_tools_are_allowed() -> None:
    searching = ModelsFile.parse(MODELS.replace("targets =", 'allow_unpriced = ["web_search"]\ntargets ='), {}).models[
        "m"
    ]

    assert ReservationBound.of(chat(), searching).max_input_tokens == 10_000
    assert 1_000 < ReservationBound.of(chat(), sized(10_000)).max_input_tokens < 1_300
