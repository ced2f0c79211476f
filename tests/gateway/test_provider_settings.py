"""
What the models file says about a provider holds on the wire: its one name of the output limit (E4), the prices of its
tiers (E5), the betas it may be sent (E7), its ways of reporting (E10), its streams (C3 = E14).

Real gateway, canned upstream.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest

from tests.gateway.canned import CannedUpstream, canned_upstream, completion, message, pieces
from tests.harness.installation import Booked, Customer, Installation
from tests.harness.running_gateway import RunningGateway

MODELS = """
[providers.usual]
schema = "openai"
base_url = "{url}/v1"
api_key = "sk-sim-the-own-key-of-this-gateway"
betas = ["assistants=v2"]

[providers.older]
schema = "openai"
base_url = "{url}/v1"
api_key = "sk-sim-the-own-key-of-this-gateway"
max_tokens_parameter = "max_tokens"
stream_options = false
sends_done = false
input_includes_cache = false

[providers.claude]
schema = "anthropic"
base_url = "{url}"
api_key = "sk-sim-the-own-key-of-this-gateway"
betas = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27"]

[providers.inclusive]
schema = "anthropic"
base_url = "{url}"
api_key = "sk-sim-the-own-key-of-this-gateway"
input_includes_cache = true

[models.usual]
context_tokens = 128_000
max_output_tokens = 16_384
price = {{ input = "2.00", cache_read = "0.20", output = "8.00" }}
tiers = {{ priority = {{ input = "4.00", output = "16.00" }}, flex = {{ input = "1.00", output = "4.00" }} }}
targets = [{{ provider = "usual", model = "m" }}]

[models.older]
context_tokens = 128_000
max_output_tokens = 16_384
price = {{ input = "2.00", cache_read = "0.20", output = "8.00" }}
targets = [{{ provider = "older", model = "m" }}]

[models.claude]
context_tokens = 400_000
max_output_tokens = 64_000
price = {{ input = "3.00", cache_read = "0.30", output = "15.00" }}
long_input = {{ above_tokens = 2_000, price = {{ input = "6.00", cache_read = "0.60", output = "22.50" }} }}
targets = [{{ provider = "claude", model = "claude-haiku-4-5" }}]

[models.inclusive]
context_tokens = 200_000
max_output_tokens = 64_000
price = {{ input = "3.00", cache_read = "0.30", output = "15.00" }}
targets = [{{ provider = "inclusive", model = "claude-haiku-4-5" }}]

[models.small]
context_tokens = 1_000
max_output_tokens = 500
price = {{ input = "1.00", output = "1.00" }}
targets = [{{ provider = "usual", model = "m" }}]
"""


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedUpstream]:
    with canned_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def strict(shared: Installation, canned: CannedUpstream) -> Iterator[RunningGateway]:
    gateway = shared.start_gateway(models=MODELS.format(url=canned.url))
    yield gateway
    gateway.stop()


class Asking:
    def __init__(self, gateway: RunningGateway, shared: Installation, canned: CannedUpstream, customer: Customer):
        self.canned = canned
        self._gateway, self._shared, self._customer = gateway, shared, customer

    def ask(
        self, model: str, text: str = "Hello", headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), **more: Any
    ) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        own = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        head = [*self._customer.headers.items(), *own]
        return httpx.post(f"{self._gateway.openai_url}/chat/completions", content=json.dumps(body), headers=head)

    def refused(self, model: str, **more: Any) -> Any:
        """The error of a request that never went out."""
        before = len(self.canned.requests)
        answer = self.ask(model, **more)
        assert answer.status_code == 400, answer.text
        assert len(self.canned.requests) == before
        return answer.json()["error"]

    def booked(self, model: str, **more: Any) -> Booked:
        answer = self.ask(model, **more)
        assert answer.status_code == 200, answer.text
        [event] = self._shared.wait_events(self._customer, 1)
        self._shared.assert_nothing_held()
        return event


@pytest.fixture
def asking(strict: RunningGateway, shared: Installation, canned: CannedUpstream, customer: Customer) -> Asking:
    canned.answer(completion("hi", usage={"prompt_tokens": 10, "completion_tokens": 5}))
    return Asking(strict, shared, canned, customer)


@pytest.mark.parametrize(("model", "name"), [("usual", "max_completion_tokens"), ("older", "max_tokens")])
@pytest.mark.parametrize(
    "asked", [{"max_tokens": 16}, {"max_completion_tokens": 16}, {"max_tokens": 16, "max_completion_tokens": 16}]
)
def test_the_output_limit_reaches_each_provider_under_the_name_that_it_knows(
    asking: Asking, model: str, name: str, asked: dict[str, Any]
) -> None:
    assert asking.ask(model, **asked).status_code == 200

    assert {key: value for key, value in asking.canned.asked.items() if key.startswith("max_")} == {name: 16}


@pytest.mark.parametrize("model", ["usual", "older", "claude"])
def test_two_limits_that_disagree_are_refused(asking: Asking, model: str) -> None:
    error = asking.refused(model, max_completion_tokens=16, max_tokens=16_000)

    assert error["param"] == "max_tokens"
    assert "16000" in error["message"]


@pytest.mark.parametrize(
    ("served", "cost"), [("priority", 120_000), ("default", 60_000), ("flex", 30_000), (None, 120_000)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_tier_that_was_served_is_charged(asking: Asking, served: str | None, cost: int, stream: bool) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    tier = {} if served is None else {"service_tier": served}
    if stream:
        asking.canned.stream(*({**piece, **tier} for piece in pieces("h", "i", usage=usage)))
    else:
        asking.canned.answer(completion("hi", usage=usage, **tier))

    booked = asking.booked("usual", service_tier="priority", max_tokens=100, stream=stream)

    assert asking.canned.asked["service_tier"] == "priority"
    assert (booked.event.cost, booked.charged, booked.event.estimated) == (cost, cost, "")


def test_a_tier_that_nobody_asked_for_and_nobody_priced_is_marked(asking: Asking) -> None:
    asking.canned.answer(completion("hi", usage={"prompt_tokens": 10, "completion_tokens": 5}, service_tier="rush"))

    assert asking.booked("usual").event.estimated == "service_tier_unpriced"


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("older", {"service_tier": "priority"}, "service_tier"),
        ("older", {"service_tier": "flex"}, "service_tier"),
        ("usual", {"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ("usual", {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ("usual", {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "mp3"}}, "audio"),
        ("claude", {"mcp_servers": [{"type": "url", "url": "https://example.org", "name": "n"}]}, "mcp_servers"),
        ("claude", {"container": "c_1"}, "container"),
        ("claude", {"service_tier": "priority"}, "service_tier"),
        ("usual", {"parallel_tool_calls": 0}, "parallel_tool_calls"),
    ],
)
def test_what_has_no_price_is_refused_before_the_first_attempt(
    asking: Asking, model: str, fields: dict[str, Any], param: str
) -> None:
    assert asking.refused(model, **fields)["param"] == param


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        ("context-1m-2025-08-07", None),
        ("interleaved-thinking-2025-05-14", "interleaved-thinking-2025-05-14"),
        ("context-1m-2025-08-07, context-management-2025-06-27", "context-management-2025-06-27"),
    ],
)
def test_e7_only_betas_of_the_providers_list_are_sent_on(asking: Asking, sent: str, forwarded: str | None) -> None:
    asking.canned.answer(message("hi", usage={"input_tokens": 10, "output_tokens": 5}))

    assert asking.ask("claude", headers={"anthropic-beta": sent}).status_code == 200

    assert asking.canned.heads[-1].get("anthropic-beta") == forwarded


def test_e7_a_long_input_is_charged_at_its_own_prices(asking: Asking) -> None:
    usage = {"input_tokens": 1_000, "cache_read_input_tokens": 9_000, "output_tokens": 10}
    asking.canned.answer(message("hi", usage=usage))

    booked = asking.booked("claude", text="word " * 9_000, max_tokens=100)

    assert booked.event.cost == 1_000 * 6_000 + 9_000 * 600 + 10 * 22_500


def test_e7_more_input_than_the_model_reads_is_refused(asking: Asking) -> None:
    error = asking.refused("small", text="word " * 4_000)

    assert error["code"] == "context_length_exceeded"
    assert "1000" in error["message"]


def test_e10_each_providers_way_to_count_cached_tokens_is_read(asking: Asking) -> None:
    asking.canned.answer(completion("hi", usage={"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 900}))

    usage = asking.booked("older").event.usage

    assert (usage.input, usage.cache_read) == (100, 900)


def test_e10_an_anthropic_compatible_upstream_may_count_them_inside(asking: Asking) -> None:
    usage = {"input_tokens": 1_000, "cache_read_input_tokens": 900, "output_tokens": 5}
    asking.canned.answer(message("hi", usage=usage))

    read = asking.booked("inclusive").event.usage

    assert (read.input, read.cache_read) == (100, 900)


def test_c3_e14_c20_a_server_without_stream_options_and_done_streams_all_the_same(asking: Asking) -> None:
    *events, _ = pieces("a" * 40, "b" * 40)
    asking.canned.stream(*events)
    asking.canned.body = asking.canned.body.removesuffix(b"data: [DONE]\n\n")

    answer = asking.ask("older", stream=True, stream_options={"include_usage": True})

    assert "stream_options" not in asking.canned.asked
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "error" not in answer.text


def test_c3_e14_its_usage_is_estimated_and_marked(asking: Asking) -> None:
    *events, _ = pieces("a" * 40, "b" * 40)
    asking.canned.stream(*events)

    event = asking.booked("older", stream=True).event

    assert event.estimated == "no_usage_reported"
    assert 15 <= event.usage.output <= 25


@pytest.mark.parametrize("stream", [False, True])
def test_e8_half_an_emoji_in_an_answer_is_passed_on_and_asked_for_once(asking: Asking, stream: bool) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    if stream:
        asking.canned.stream(*pieces("a \ud83d b", usage=usage))
    else:
        asking.canned.answer(completion("a \ud83d b", usage=usage))
    before = len(asking.canned.requests)

    booked = asking.booked("usual", stream=stream)

    assert (booked.event.usage.total, booked.event.estimated) == (15, "")
    assert len(asking.canned.requests) == before + 1


def test_c17_e11_half_an_emoji_and_long_numbers_of_a_request_reach_the_provider(asking: Asking) -> None:
    number = 1234567890123456789012

    assert asking.ask("usual", text="a \ud83d b", metadata={"wei": number}).status_code == 200

    assert asking.canned.asked["messages"][0]["content"] == "a \ufffd b"
    assert asking.canned.asked["metadata"] == {"wei": number}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": [{"loc": ["body", "top_p"], "msg": "field required"}]}, "top_p: field required"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "no"}]}}, "n: no"),
        ([{"error": {"code": 400, "message": "Gemini says no", "status": "INVALID_ARGUMENT"}}], "Gemini says no"),
        (b"top_p must be positive", "top_p must be positive"),
        (
            {"error": {"message": "Missing 'key_value'.", "param": "tools[0].function.parameters"}},
            "Missing 'key_value'.",
        ),
        ({"error": {"message": "bad key sk-sim-the-own-key-of-this-gateway"}}, "bad key [key]"),
    ],
)
def test_c6_c7_a_client_is_told_the_providers_own_reason(asking: Asking, body: object, message: str) -> None:
    asking.canned.answer(body, status=422)

    answer = asking.ask("usual")

    assert (answer.status_code, answer.json()["error"]["message"]) == (422, message)


def test_c6_c7_its_path_and_its_further_members_too(asking: Asking) -> None:
    error = {"message": "no", "param": "tools[0].function", "code": "content_filter", "innererror": {"code": "Policy"}}
    asking.canned.answer({"error": error}, status=400)

    told = asking.ask("usual").json()["error"]

    assert told == {"type": "invalid_request_error", **error}


def test_e17_a_header_in_two_lines_is_sent_on_whole(asking: Asking) -> None:
    """The last line won."""
    asking.canned.answer(message("hi", usage={"input_tokens": 10, "output_tokens": 5}))
    betas = ["interleaved-thinking-2025-05-14", "context-management-2025-06-27"]

    assert asking.ask("claude", headers=[("anthropic-beta", beta) for beta in betas]).status_code == 200

    assert asking.canned.heads[-1]["anthropic-beta"] == ",".join(betas)
