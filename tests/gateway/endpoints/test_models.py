"""S12: the list of models is for keys that may ask for a model."""

from typing import Any

import httpx
import pytest

from portal_api.api_keys import KeyLimits
from tests.harness.installation import Customer, Installation
from tests.harness.running_gateway import RunningGateway

ONE_MODEL = KeyLimits(models=("gpt-4o-mini",))
PATHS = pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o-mini"])


def get(gateway: RunningGateway, customer: Customer, path: str = "/v1/models") -> httpx.Response:
    return httpx.get(gateway.url + path, headers=customer.headers, timeout=10, trust_env=False)


def names(answer: httpx.Response) -> list[str]:
    document: dict[str, Any] = answer.json()
    return [model["id"] for model in document["data"]]


@PATHS
def test_a_revoked_key_lists_nothing(shared: Installation, gateway: RunningGateway, path: str) -> None:
    customer = shared.customer()
    before = get(gateway, customer, path)
    shared.with_services(lambda services: services.api_keys.revoke(customer.key_id))

    after = get(gateway, customer, path)

    assert (before.status_code, after.status_code) == (200, 401)
    assert after.json()["error"]["code"] == "invalid_api_key"


@PATHS
def test_the_key_of_a_suspended_account_lists_nothing(shared: Installation, gateway: RunningGateway, path: str) -> None:
    customer = shared.customer()
    shared.with_services(lambda services: services.accounts.change(customer.account_id, status="suspended"))

    answer = get(gateway, customer, path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "account_suspended")


@PATHS
def test_an_expired_key_lists_nothing(shared: Installation, gateway: RunningGateway, path: str) -> None:
    customer = shared.customer()
    shared.redis.hset(shared.keys_of(customer).key(customer.key_id), "expires_at", 1)

    assert get(gateway, customer, path).status_code == 401


def test_a_restricted_key_sees_its_models_also_in_a_redis_that_has_lost_everything(
    installation: Installation,
) -> None:
    customer = installation.customer(key=ONE_MODEL)
    gateway = installation.start_gateway()
    before = names(get(gateway, customer))
    installation.redis.flushall()

    after = names(get(gateway, customer))
    other = get(gateway, customer, "/v1/models/claude-haiku-4-5")

    assert before == after == ["gpt-4o-mini"]
    assert other.status_code == 404
