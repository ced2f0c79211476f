"""Whose key it is, and what is remembered of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.accounts.api_key import ApiKey, Pepper, PepperRing
from core.accounts.key_directory import KeyDirectory
from core.postgres.connections import open_pool
from core.principal import Principal
from core.process.settings import Secret
from core.redis.connections import connect_redis
from gateway.admission import authentication as module
from gateway.admission.authentication import Authentication
from gateway.errors import InvalidKey
from gateway.store.look_ups import LookUps
from tests.gateway.asking import ask
from tests.harness import pipelines
from tests.harness.installation import PEPPER, SHARDS, Customer, Installation

OTHER_ID, OTHER_SECRET = "2:" + "5b" * 32, "1:" + "5b" * 32


@pytest.mark.parametrize("pepper", [OTHER_ID, OTHER_SECRET], ids=["another id", "another secret"])
async def test_a_gateway_with_a_wrong_pepper_says_so_once_a_minute(installation: Installation, pepper: str) -> None:
    """S17"""
    customers = [installation.customer() for _ in range(3)]
    gateway = installation.start_gateway({"API_KEY_PEPPER": pepper})

    answers = [await ask(gateway, customer) for customer in customers]

    complaints = [line for line in gateway.log_lines() if "API_KEY_PEPPER" in line.get("message", "")]
    assert {head.status for head, _ in answers} == {401}
    assert len(complaints) == 1
    assert gateway.metric("poindexter_keys_of_another_pepper_total") == 1


async def test_an_unknown_key_says_nothing_about_the_pepper(installation: Installation) -> None:
    customer = installation.customer()
    gateway = installation.start_gateway()

    head, _ = await ask(gateway, Customer(customer.account_id, customer.key_id, ApiKey.generate().text))

    assert head.status == 401
    assert not [line for line in gateway.log_lines() if "API_KEY_PEPPER" in line.get("message", "")]


async def test_other_keys_do_not_push_out_the_one_that_is_in_use(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The known keys were forgotten in the order in which they were met, the busiest like any other."""
    monkeypatch.setattr(module, "KNOWN_KEYS", 3)
    busy, *others = [installation.customer() for _ in range(6)]
    async with authentication(installation) as authenticate:
        for other in others:
            assert await authenticate.identify(bearer(other)) == principal_of(other)
            assert await authenticate.identify(bearer(busy)) == principal_of(busy)

        installation.redis.delete(*installation.redis.scan_iter("key:*"))
        installation.with_services(lambda services: services.pool.execute("DELETE FROM api_keys"))

        assert await authenticate.identify(bearer(busy)) == principal_of(busy)
        with pytest.raises(InvalidKey):
            await authenticate.identify(bearer(others[0]))


@asynccontextmanager
async def authentication(installation: Installation) -> AsyncIterator[Authentication]:
    pool = await open_pool(Secret(installation.database_url), max_connections=2, application="test")
    redis = connect_redis(Secret(installation.redis_url))
    directory = KeyDirectory(pool, redis, shard_count=SHARDS)
    try:
        async with pipelines.running(installation.redis_url, []) as pipeline:
            yield Authentication(PepperRing(Pepper.parse(PEPPER)), pipeline, directory, LookUps(seconds=5))
    finally:
        await pool.close()
        await redis.aclose()


def bearer(customer: Customer) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + customer.key.encode()}


def principal_of(customer: Customer) -> Principal:
    return Principal(customer.account_id, customer.key_id)
