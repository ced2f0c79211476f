"""`GET /v1/key`: what a key may do, has used and has left."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.admission.allowances import Allowance
from portal_api.api_keys import KeyLimits
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway
from tests.harness.waiting import until_elsewhere

MODEL = "gpt-4o-mini"


async def get(gateway: RunningGateway, key: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as http:
        return await http.get(f"{gateway.openai_url}/key", headers={"x-api-key": key})


async def shown(gateway: RunningGateway, customer: Customer) -> Any:
    answer = await get(gateway, customer.key)
    assert answer.status_code == 200
    return answer.json()


async def ask(gateway: RunningGateway, customer: Customer, text: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
    async with httpx.AsyncClient(timeout=20) as http:
        answer = await http.post(f"{gateway.openai_url}/chat/completions", json=body, headers=customer.headers)
    assert answer.status_code == 200


async def test_a_new_key_has_used_nothing_and_has_all_its_limits(gateway: RunningGateway, shared: Installation) -> None:
    customer = shared.customer(cap=5_000_000)

    told = await shown(gateway, customer)

    assert (told["object"], told["account_id"], told["key_id"]) == ("key", customer.account_id, customer.key_id)
    assert told["models"] is None
    assert told["account"]["spending"] == {
        "cap_nano_usd": 5_000_000,
        "spent_nano_usd": 0,
        "reserved_nano_usd": 0,
        "left_nano_usd": 5_000_000,
    }
    assert told["key"]["spending"]["cap_nano_usd"] is None
    assert told["key"]["spending"]["left_nano_usd"] is None
    now = datetime.now(UTC)
    assert now < datetime.fromisoformat(told["minute_ends_at"]) <= now + timedelta(minutes=2)
    assert datetime.fromisoformat(told["period"]["ends_at"]) > now


async def test_what_was_used_is_shown_when_the_answer_has_ended(gateway: RunningGateway, shared: Installation) -> None:
    customer = shared.customer(key=KeyLimits(cap_nano_usd=10_000_000))

    await ask(gateway, customer, "[[sim words=5]]")
    told = await shown(gateway, customer)
    [booked] = await asyncio.to_thread(shared.wait_events, customer, 1)

    for scope in ("account", "key"):
        assert told[scope]["spending"]["spent_nano_usd"] == booked.charged > 0
        assert told[scope]["concurrency"]["used"] == 0
    assert told["key"]["spending"]["left_nano_usd"] == 10_000_000 - booked.charged


async def test_what_is_under_way_is_reserved(gateway: RunningGateway, shared: Installation) -> None:
    customer = shared.customer()
    asking = asyncio.create_task(ask(gateway, customer, "[[sim first_byte_ms=1500]]"))
    leases = shared.keys_of(customer).leases
    await until_elsewhere(lambda: shared.redis.zcard(leases) >= 1, "an admitted request")

    told = await shown(gateway, customer)
    await asking

    assert told["key"]["concurrency"]["used"] == 1
    assert told["key"]["spending"]["reserved_nano_usd"] > 0


async def test_a_key_that_is_not_known_or_was_revoked_learns_nothing(
    gateway: RunningGateway, shared: Installation
) -> None:
    customer = shared.customer()
    shared.with_services(lambda services: services.api_keys.revoke(customer.key_id))

    answers = [await get(gateway, customer.key), await get(gateway, "pk_live_wrong")]

    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (401, "invalid_api_key"),
        (401, "invalid_api_key"),
    ]


@pytest.mark.parametrize(("minute", "used"), [(7, (3, 40)), (8, (0, 0))], ids=["this minute", "a minute that is over"])
def test_what_was_used_in_another_minute_is_over(minute: int, used: tuple[int, int]) -> None:
    fields = [b"60", b"", None, b"1000", b"2", b"300", b"7", b"3", b"40", b"500", b"100"]

    scope = Allowance.of(fields, minute=minute)

    assert (scope.requests_used, scope.tokens_used) == used
    assert (scope.requests_per_minute, scope.tokens_per_minute, scope.concurrency) == (60, None, None)
    assert (scope.spent, scope.reserved, scope.left) == (600, 300, 100)
