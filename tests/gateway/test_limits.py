"""Every limit refuses, and an unset one never does; no crowd on any number of gateways passes a cap."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.admission.token_estimate import estimate_input
from gateway.dialects.openai.chat_request import parse_chat
from portal_api.api_keys import KeyLimits
from tests.gateway.served import booked_once
from tests.gateway.wire import Wire, request, wire
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.simulated_upstream import SimulatedUpstream
from tests.harness.waiting import until

MODEL = "gpt-4o-mini"
INPUT_PRICE, OUTPUT_PRICE = 150, 600
"""Nano-dollars per token of MODEL."""
CROWD = 1000


@pytest.fixture(scope="module")
def gateways(shared: Installation) -> Iterator[tuple[RunningGateway, RunningGateway]]:
    """Two processes that share nothing but Redis and Postgres."""
    first, second = shared.start_gateway(), shared.start_gateway()
    yield first, second
    first.stop()
    second.stop()


class Crowd:
    """Requests by turns at two gateways."""

    def __init__(self, client: httpx.AsyncClient, gateways: tuple[RunningGateway, RunningGateway]) -> None:
        self._client = client
        self._gateways = gateways
        self._turn = 0

    async def ask(self, customer: Customer, text: str = "Hello", **more: Any) -> httpx.Response:
        self._turn += 1
        gateway = self._gateways[self._turn % 2]
        return await self._client.post(
            f"{gateway.url}/v1/chat/completions",
            headers=customer.headers,
            json={"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more},
        )

    async def ask_all(self, customer: Customer, count: int, text: str = "Hello", **more: Any) -> Counter[int]:
        answers = await asyncio.gather(*(self.ask(customer, text, **more) for _ in range(count)))
        return Counter(answer.status_code for answer in answers)


@asynccontextmanager
async def crowd(gateways: tuple[RunningGateway, RunningGateway]) -> AsyncIterator[Crowd]:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        yield Crowd(client, gateways)


async def within_one_minute(shared: Installation, scenario: Callable[[], Awaitable[None]]) -> None:
    """Limits per minute count by the minutes of Redis' clock: a scenario that saw two may be wrong, and is repeated."""
    before = minute(shared)
    try:
        await scenario()
    except AssertionError:
        if minute(shared) == before:
            raise
        await scenario()


def minute(shared: Installation) -> int:
    now: Any = shared.redis.time()
    return int(now[0]) // 60


def in_scope(scope: str, **limits: Any) -> dict[str, Any]:
    """Arguments of `Installation.customer` that set limits of the account or of the key, and no other."""
    unlimited = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent_requests", "cap_nano_usd"))
    return {**unlimited, **limits} if scope == "account" else {**unlimited, "key": KeyLimits(**limits)}


SCOPES = pytest.mark.parametrize("scope", ["account", "key"])


@SCOPES
async def test_requests_per_minute_are_counted_over_all_gateways(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], scope: str
) -> None:
    """F34"""

    async def scenario() -> None:
        customer = shared.customer(**in_scope(scope, requests_per_minute=7))

        async with crowd(gateways) as many:
            statuses = await many.ask_all(customer, 20)
            refused = await many.ask(customer)

        assert statuses == {200: 7, 429: 13}
        assert refused.json()["error"]["message"] == f"Limit of this {scope}: 7 requests per minute."
        assert 0 < int(refused.headers["retry-after-ms"]) <= 60_000

    await within_one_minute(shared, scenario)


@SCOPES
async def test_tokens_per_minute_are_reserved_and_then_counted_as_used(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], scope: str
) -> None:
    """F34: a request's bound is some 85 tokens, its use is 4 + 20. Used tokens, not bounds, fill the minute."""

    async def scenario() -> None:
        customer = shared.customer(**in_scope(scope, tokens_per_minute=180))
        async with crowd(gateways) as many:
            one_by_one = [(await many.ask(customer, "[[sim words=20]]")).status_code for _ in range(12)]
            refused = await many.ask(customer, "[[sim words=20]]")

        used = sum(booked.event.usage.total for booked in shared.events(customer))
        assert Counter(one_by_one).keys() == {200, 429}
        assert one_by_one == sorted(one_by_one)
        assert 180 - 110 < used <= 180
        assert refused.json()["error"]["message"] == f"Limit of this {scope}: 180 tokens per minute."
        assert "retry-after-ms" in refused.headers

    await within_one_minute(shared, scenario)


@SCOPES
async def test_requests_at_once_are_counted_over_all_gateways(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], scope: str
) -> None:
    customer = shared.customer(**in_scope(scope, concurrent_requests=5))

    async with crowd(gateways) as many:
        statuses = await many.ask_all(customer, 12, "[[sim first_byte_ms=700]]")
        afterwards = await many.ask_all(customer, 5)

    assert statuses == {200: 5, 429: 7}
    assert afterwards == {200: 5}
    shared.assert_nothing_held()


@SCOPES
async def test_a_cap_refuses_what_it_cannot_pay(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], scope: str
) -> None:
    """F26"""
    customer = shared.customer(**in_scope(scope, cap_nano_usd=40_000))

    async with crowd(gateways) as many:
        answers = [await many.ask(customer, "[[sim words=20]]") for _ in range(6)]

    statuses = [answer.status_code for answer in answers]
    assert statuses == sorted(statuses)
    assert (statuses[0], statuses[-1]) == (200, 402)
    assert answers[-1].headers["x-should-retry"] == "false"
    assert "retry-after" not in answers[-1].headers
    assert f"The spending cap of this {scope}, $0.00004 per billing period" in answers[-1].json()["error"]["message"]
    assert 0 < shared.spent(customer) <= 40_000


async def test_limits_that_are_not_set_never_refuse(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], upstream: SimulatedUpstream
) -> None:
    """F29"""
    customer = shared.customer(**in_scope("account"))

    async with crowd(gateways) as many:
        statuses = await many.ask_all(customer, 150, max_tokens=16_384)
        answer = await many.ask(customer)

    assert statuses == {200: 150}
    assert not [name for name in answer.headers if "ratelimit" in name]
    booked_once(shared, upstream, customer, 151)
    shared.assert_nothing_held()


async def test_the_remaining_headers_fall_by_what_was_used(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    """F35"""

    async def scenario() -> None:
        customer = shared.customer(requests_per_minute=100, tokens_per_minute=100_000)
        async with crowd(gateways) as many:
            first, second = [(await many.ask(customer)).headers for _ in range(2)]

        [used, _] = [booked.event.usage.total for booked in shared.wait_events(customer, 2)]
        left = [int(headers["x-ratelimit-remaining-tokens"]) for headers in (first, second)]
        assert (first["x-ratelimit-remaining-requests"], second["x-ratelimit-remaining-requests"]) == ("99", "98")
        assert left[0] - left[1] == used

    await within_one_minute(shared, scenario)


@SCOPES
async def test_a_crowd_on_two_gateways_uses_a_cap_to_the_last_nano_dollar_and_not_one_more(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], scope: str
) -> None:
    """F27, F30, F60: every request uses exactly what it reserves, and the cap pays exactly 50 of them."""
    text, cost = request_that_uses_what_it_reserves()
    customer = shared.customer(**in_scope(scope, cap_nano_usd=50 * cost))

    statuses = await at_the_same_moment(gateways, customer, CROWD, text)

    assert statuses == {200: 50, 402: CROWD - 50}
    events = shared.wait_events(customer, 50)
    assert shared.spent(customer) == 50 * cost
    assert {(booked.charged, booked.waived) for booked in events} == {(cost, 0)}
    shared.assert_nothing_held()


async def test_what_a_crowd_leaves_of_a_cap_can_be_spent(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    """F60: requests use less than they reserve; who was refused may come back until nothing useful is left."""
    customer = shared.customer(**in_scope("account", cap_nano_usd=500_000))
    fewest = 16 * OUTPUT_PRICE + input_bound("[[sim words=9]]") * INPUT_PRICE

    await at_the_same_moment(gateways, customer, 200, "[[sim words=9]]")
    async with crowd(gateways) as many:
        while (await many.ask(customer, "[[sim words=9]]")).status_code == 200:
            pass

    assert 500_000 - fewest < shared.spent(customer) <= 500_000
    shared.assert_nothing_held()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_request_finds_what_the_one_before_it_has_left(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], stream: bool
) -> None:
    """A client that has its answer may send the next request to another gateway: the answer before is settled."""
    customer = shared.customer(**in_scope("account", concurrent_requests=1))
    body = json.dumps({**chat_body("[[sim words=5]]"), "stream": stream}).encode()

    statuses = []
    async with wire(gateways[0].port) as first, wire(gateways[1].port) as second:
        for number in range(200):
            client = (first, second)[number % 2]
            await client.send(request(customer, body))
            statuses.append(await whole_status(client))

    assert statuses == [200] * 200


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5"])
async def test_an_answer_is_limited_to_what_the_cap_can_pay(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], upstream: SimulatedUpstream, model: str
) -> None:
    prices = {"gpt-4o-mini": (150, 600), "claude-haiku-4-5": (2000, 5000)}
    tokenizers = {"gpt-4o-mini": "openai-mini", "claude-haiku-4-5": "claude-4"}
    text = "[[sim words=500]]"
    dearest_input, output = prices[model]
    cap = input_bound(text, tokenizers[model]) * dearest_input + 30 * output
    customer = shared.customer(**in_scope("account", cap_nano_usd=cap))

    async with crowd(gateways) as many:
        answer = (await many.ask(customer, text, model=model, max_tokens=400)).json()

    assert answer["choices"][0]["finish_reason"] == "length"
    [booked] = booked_once(shared, upstream, customer)
    assert booked.event.usage.output == 30
    assert booked.charged <= cap


async def test_an_answer_dearer_than_its_bound_is_charged_to_the_cap_and_the_rest_is_waived(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    """F31, F67, product decision 6: hex has nearly a token for each byte, which the bound of ordinary text is below."""
    customer = shared.customer(**in_scope("account", cap_nano_usd=450_000))

    async with crowd(gateways) as many:
        dear = await many.ask(customer, "[[sim words=20 input_tokens=5000]]" + "0f" * 3_000)
        after = await many.ask(customer)

    [booked] = shared.wait_events(customer, 1)
    assert (dear.status_code, after.status_code) == (200, 402)
    assert booked.event.cost == 5000 * INPUT_PRICE + 20 * OUTPUT_PRICE
    assert (booked.charged, booked.waived) == (450_000, booked.event.cost - 450_000)
    assert shared.spent(customer) == 450_000


async def test_a_raised_cap_lets_the_very_next_request_pass_on_every_gateway(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    """F66"""
    customer = shared.customer(**in_scope("account", cap_nano_usd=10))

    async with crowd(gateways) as many, shared.services() as services:
        before = await many.ask_all(customer, 2)
        await services.accounts.change(customer.account_id, cap_nano_usd=10**9)
        raised = await many.ask_all(customer, 2)
        await services.accounts.change(customer.account_id, cap_nano_usd=10)
        lowered = await many.ask_all(customer, 2)

    assert (before, raised, lowered) == ({402: 2}, {200: 2}, {402: 2})


async def test_a_suspended_account_is_refused_at_once_and_comes_back_at_once(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], customer: Customer
) -> None:
    async with crowd(gateways) as many, shared.services() as services:
        before = await many.ask_all(customer, 2)
        await services.accounts.change(customer.account_id, status="suspended")
        suspended = await many.ask_all(customer, 2)
        await services.accounts.change(customer.account_id, status="active")
        active = await many.ask_all(customer, 2)

    assert (before, suspended, active) == ({200: 2}, {403: 2}, {200: 2})


async def test_after_a_revocation_has_returned_no_request_is_admitted(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway], customer: Customer
) -> None:
    """F36, F37, F38: under load on two gateways, with answers under way."""
    sent: list[tuple[float, int]] = []
    stop = asyncio.Event()

    async with crowd(gateways) as many, shared.services() as services:

        async def keep_asking() -> None:
            while not stop.is_set():
                at = time.monotonic()
                answer = await many.ask(customer, "[[sim first_byte_ms=30]]")
                sent.append((at, answer.status_code))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(keep_asking())
            await until(lambda: len(sent) > 60)
            await services.api_keys.revoke(customer.key_id)
            revoked_at = time.monotonic()
            known = len(sent)
            await until(lambda: len(sent) > known + 60)
            stop.set()

    assert {status for at, status in sent if at > revoked_at} == {401}
    assert Counter(status for _, status in sent)[200] == len(shared.events(customer))
    shared.assert_nothing_held()


async def test_a_key_expires_to_the_second(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=1.2)
    customer = shared.customer(key=KeyLimits(expires_at=expires_at))

    async with crowd(gateways) as many:
        before = await many.ask_all(customer, 2)
        await until(lambda: datetime.now(UTC) > expires_at)
        after = await many.ask_all(customer, 2)

    assert (before, after) == ({200: 2}, {401: 2})


async def test_a_key_sees_and_uses_the_models_it_may_use(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    customer = shared.customer(key=KeyLimits(models=("gpt-4o-mini", "gone-model")))
    url = gateways[0].openai_url

    async with crowd(gateways) as many, httpx.AsyncClient(headers=customer.headers, trust_env=False) as client:
        allowed = await many.ask(customer)
        denied = await many.ask(customer, model="gpt-5-mini")
        listed = (await client.get(f"{url}/models")).json()
        hidden = await client.get(f"{url}/models/gpt-5-mini")

    assert (allowed.status_code, denied.status_code, hidden.status_code) == (200, 403, 404)
    assert [model["id"] for model in listed["data"]] == ["gpt-4o-mini"]


async def test_two_keys_of_an_account_share_its_limits_and_not_each_others(
    shared: Installation, gateways: tuple[RunningGateway, RunningGateway]
) -> None:
    async def scenario() -> None:
        first = shared.customer(requests_per_minute=5, key=KeyLimits(requests_per_minute=2))
        second = shared.another_key(first)

        async with crowd(gateways) as many:
            statuses = [await many.ask_all(first, 4), await many.ask_all(second, 4)]

        assert statuses == [{200: 2, 429: 2}, {200: 3, 429: 1}]

    await within_one_minute(shared, scenario)


def chat_body(text: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20}


def input_bound(text: str, tokenizer: str = "openai-mini") -> int:
    return estimate_input(parse_chat(json.dumps(chat_body(text)).encode()), tokenizer)


def request_that_uses_what_it_reserves() -> tuple[str, int]:
    """The text, and its cost in nano-dollars: 20 words, and as many input tokens as are reserved."""
    template = "[[sim words=20 input_tokens={:03d}]]"
    bound = input_bound(template.format(0))
    return template.format(bound), bound * INPUT_PRICE + 20 * OUTPUT_PRICE


async def at_the_same_moment(
    gateways: tuple[RunningGateway, RunningGateway], customer: Customer, count: int, text: str
) -> Counter[int]:
    """Each request on a connection of its own; all are sent when all are connected."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(gateways[number % 2].port)) for number in range(count)]
        for client in clients:
            await client.send(request(customer, json.dumps(chat_body(text)).encode()))
        answers = await asyncio.gather(*(client.answer() for client in clients))
    return Counter(head.status for head, _ in answers)


async def whole_status(client: Wire) -> int:
    """The status of an answer, read to its end."""
    head = await client.head()
    if "content-length" in head.headers:
        await client.exactly(int(head.headers["content-length"]))
    else:
        client.received = b""
        await client.read_past(b"\r\n0\r\n\r\n")
    return head.status
