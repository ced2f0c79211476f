"""
What one customer's requests can do to a model that others use as well, on real processes (S14, C1, C9, B6, B7).

The upstream answers by what the prompt says, in both schemas; a second account asks behind the first one's back.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.gateway.outbound.peer import Call, peer
from tests.gateway.wire import chat, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import until

MODELS = """
[providers.openai]
schema = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-test"
max_concurrency = {places}

[providers.anthropic]
schema = "anthropic"
base_url = "http://127.0.0.1:{port}"
api_key = "sk-test"

[models.openai]
context_tokens = 100_000
max_output_tokens = 1000
price = {{ input = "1", output = "1" }}
targets = [{{ provider = "openai", model = "a" }}]

[models.sister]
context_tokens = 100_000
max_output_tokens = 1000
price = {{ input = "1", output = "1" }}
targets = [{{ provider = "openai", model = "b" }}]

[models.anthropic]
context_tokens = 100_000
max_output_tokens = 1000
price = {{ input = "1", output = "1" }}
targets = [{{ provider = "anthropic", model = "c" }}]
"""
SCHEMAS = ["openai", "anthropic"]
OPENAI = {
    "id": "c",
    "object": "chat.completion",
    "model": "a",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
OPENAI_STREAM = [
    {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}]},
    {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
]
ANTHROPIC = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "c",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ANTHROPIC_STREAM = [
    {"type": "message_start", "message": {**ANTHROPIC, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]
FIREWALL = (403, b"", b"<html>blocked by WAF</html>")
NOWHERE = (404, b"", b"not here")
ANSWERS: dict[bytes, tuple[int, bytes, bytes]] = {
    b"say firewall": FIREWALL,
    b"say nowhere": NOWHERE,
    b"say unauthorised": (401, b"", b'{"detail": "Unauthorized"}'),
    b"say logprobs": (
        403,
        b"",
        b'{"type": "error", "error": {"type": "invalid_request_error", "message": "No logprobs here.", '
        b'"param": "logprobs"}}',
    ),
    b"say container": (
        404,
        b"",
        b'{"type": "error", "error": {"type": "not_found_error", "message": "Container c_1 was not found.", '
        b'"param": "container"}}',
    ),
    b"say permission": (
        403,
        b"",
        b'{"type": "error", "error": {"type": "permission_error", "message": "No access to this file."}}',
    ),
    b"say credit": (402, b"", b'{"error": {"code": 402, "message": "You can only afford 300 tokens."}}'),
    b"say crash": (500, b"", b"{}"),
    b"say slowly": (429, b"retry-after: 12\r\n", b'{"error": {"type": "rate_limit_error", "message": "slow"}}'),
}


@dataclass
class Shop:
    gateway: RunningGateway
    culprit: Customer
    others: list[Customer]
    asked: list[bytes] = field(default_factory=list)
    """What the upstream was asked."""
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets `say wait` be answered."""
    most_at_once: int = 0


async def ask(shop: Shop, customer: Customer, text: str, *, model: str, stream: bool = False) -> tuple[int, Any]:
    """The status and the error, or the headers of an answer."""
    async with wire(shop.gateway.port) as client:
        await client.send(chat(customer, text, model=model, stream=stream))
        head = await client.head()
        if head.status == 200:
            return 200, head.headers
        body = json.loads(await client.exactly(int(head.headers["content-length"])))
        return head.status, {**body["error"], **head.headers}


def whole(status: int, more: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, more, len(body), body)


def answer_to(request: bytes) -> bytes:
    for said, answer in ANSWERS.items():
        if said in request:
            return whole(*answer)
    anthropic = request.startswith(b"POST /v1/messages")
    if b'"stream":true' not in request:
        return whole(
            200, b"content-type: application/json\r\n", json.dumps(ANTHROPIC if anthropic else OPENAI).encode()
        )
    events = "".join(f"data: {json.dumps(event)}\n\n" for event in (ANTHROPIC_STREAM if anthropic else OPENAI_STREAM))
    end = "" if anthropic else "data: [DONE]\n\n"
    return whole(200, b"content-type: text/event-stream\r\n", (events + end).encode())


@asynccontextmanager
async def opened(installation: Installation, *, places: int = 0) -> AsyncIterator[Shop]:
    at_once = 0
    shop: Shop

    async def play(call: Call) -> None:
        nonlocal at_once
        while True:
            request = await call.request()
            shop.asked.append(request)
            at_once += 1
            shop.most_at_once = max(shop.most_at_once, at_once)
            if b"say wait" in request:
                await shop.hold.wait()
            at_once -= 1
            await call.send(answer_to(request))

    async with peer(play) as upstream:
        write(installation, MODELS.format(port=upstream.origin.port, places=places))
        gateway = await asyncio.to_thread(installation.start_gateway)
        customers = [installation.customer(requests_per_minute=None, concurrent_requests=None) for _ in range(3)]
        shop = Shop(gateway, customers[0], customers[1:])
        try:
            yield shop
        finally:
            await asyncio.to_thread(gateway.stop)


def write(installation: Installation, text: str) -> None:
    installation.models_file.write_text(text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", SCHEMAS)
async def test_a_refused_request_again_and_again_takes_the_model_from_nobody(
    installation: Installation, model: str, stream: bool
) -> None:
    """S14, C1"""
    refusals = dict.fromkeys(("firewall", "nowhere", "unauthorised", "permission", "credit"), 502)
    refusals |= {"logprobs": 403, "container": 404}  # The request's own fault: the client is told so.
    async with opened(installation) as shop:
        for word, expected in [*refusals.items()] * 3:
            status, error = await ask(shop, shop.culprit, f"say {word}", model=model, stream=stream)
            assert status == expected, (word, error)

            assert (await ask(shop, shop.others[0], "hello", model=model, stream=stream))[0] == 200
        for _ in range(8):
            await ask(shop, shop.culprit, "say firewall", model=model, stream=stream)

        assert (await ask(shop, shop.culprit, "hello", model=model, stream=stream))[0] == 200
        assert (await ask(shop, shop.others[1], "hello", model=model, stream=stream))[0] == 200


@pytest.mark.parametrize("model", SCHEMAS)
@pytest.mark.parametrize(
    ("word", "status", "code", "message"),
    [
        ("logprobs", 403, None, "No logprobs here."),
        ("container", 404, None, "Container c_1 was not found."),
        ("firewall", 502, "upstream_error", "The provider refused this request (HTTP 403)."),
        ("nowhere", 502, "upstream_error", "The provider refused this request (HTTP 404): not here"),
        ("unauthorised", 502, "upstream_error", "The provider refused this request (HTTP 401)."),
    ],
)
async def test_the_culprit_is_told_the_reason_and_asks_once(
    installation: Installation, model: str, word: str, status: int, code: str | None, message: str
) -> None:
    """C1"""
    async with opened(installation) as shop:
        answered, error = await ask(shop, shop.culprit, f"say {word}", model=model)

        assert (answered, error["code"], error["message"]) == (status, code, message)
        assert len(shop.asked) == 1
        if status == 502:
            assert error["x-should-retry"] == "false"


@pytest.mark.parametrize("model", SCHEMAS)
async def test_a_request_on_which_a_provider_crashes_takes_the_model_from_its_sender_only(
    installation: Installation, model: str
) -> None:
    """S14: the same with a 500."""
    async with opened(installation) as shop:
        for _ in range(5):
            await ask(shop, shop.culprit, "say crash", model=model)

        assert (await ask(shop, shop.culprit, "hello", model=model))[0] == 503
        assert (await ask(shop, shop.others[0], "hello", model=model))[0] == 200
        assert (await ask(shop, shop.culprit, "hello", model=model))[0] == 200  # The other's answer has closed it.


@pytest.mark.parametrize("model", SCHEMAS)
async def test_a_retry_asks_the_circuit(installation: Installation, model: str) -> None:
    """B6: the fifth failure opens it, and the second attempt of that request is not made."""
    async with opened(installation) as shop:
        for _ in range(3):
            await ask(shop, shop.culprit, "say crash", model=model)

        assert len(shop.asked) == 5


@pytest.mark.parametrize("model", SCHEMAS)
async def test_a_rate_limit_met_by_one_customer_is_told_to_that_one_and_found_out_by_the_others(
    installation: Installation, model: str
) -> None:
    """C9: it was 503 for everybody for as long as the provider said."""
    async with opened(installation) as shop:
        first, _ = await ask(shop, shop.culprit, "say slowly", model=model)
        again, error = await ask(shop, shop.culprit, "hello", model=model)
        other, _ = await ask(shop, shop.others[0], "hello", model=model)

        assert (first, again, other) == (429, 429, 200)
        assert error["code"] == "upstream_rate_limited"
        assert 5 < float(error["retry-after"]) <= 12


async def test_a_rate_limit_that_is_about_all_lets_one_request_at_a_time_find_out(installation: Installation) -> None:
    """C9"""
    async with opened(installation) as shop:
        await ask(shop, shop.culprit, "say slowly", model="openai")
        probe = asyncio.create_task(ask(shop, shop.others[0], "say wait, say slowly", model="openai"))
        await until(lambda: len(shop.asked) == 2, "the probe")
        meanwhile, error = await ask(shop, shop.others[1], "hello", model="openai")
        shop.hold.set()

        assert (meanwhile, error["code"]) == (429, "upstream_rate_limited")
        assert (await probe)[0] == 429
        assert len(shop.asked) == 2


async def test_the_places_of_a_provider_account_are_shared_by_its_targets_and_never_passed(
    installation: Installation,
) -> None:
    """B7: 24 requests written at once, limit 2, two models."""
    async with opened(installation, places=2) as shop:
        asking = [
            asyncio.create_task(ask(shop, shop.culprit, "say wait", model=["openai", "sister"][number % 2]))
            for number in range(24)
        ]
        await until(lambda: sum(task.done() for task in asking) == 22, "22 refusals")
        shop.hold.set()
        answers = [await task for task in asking]

        refused = [error for status, error in answers if status == 503]
        assert shop.most_at_once == len(shop.asked) == 2
        assert {error["code"] for error in refused} == {"no_provider_available"}
        assert all(float(error["retry-after"]) >= 1 for error in refused)
        assert (await ask(shop, shop.culprit, "hello", model="openai"))[0] == 200
