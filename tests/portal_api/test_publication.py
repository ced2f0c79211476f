from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.exceptions

from core.principal import AccountId
from core.redis.keys import ShardKeys
from deploy.services import Services
from portal_api import publication
from portal_api.api_keys import CreatedKey
from portal_api.publication import NotPublished
from tests.portal_api.opened_services import NOWHERE, SHARDS, account_scope, key_scope, opened_services


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0.001)


async def saved_while_redis_is_away(database_url: str, change: Callable[[Services], Awaitable[Any]]) -> Any:
    async with opened_services(database_url, NOWHERE) as services:
        with pytest.raises(NotPublished, match=r"saved.*keys publish") as caught:
            await change(services)
    return caught.value.saved


async def test_a_change_that_the_gateways_cannot_be_told_is_saved_and_handed_back(
    database_url: str, redis_url: str
) -> None:
    account = await saved_while_redis_is_away(database_url, lambda services: services.accounts.create("ACME", "basic"))
    created = await saved_while_redis_is_away(
        database_url, lambda services: services.api_keys.create(account.account_id, "laptop")
    )
    suspended = await saved_while_redis_is_away(
        database_url, lambda services: services.accounts.change(account.account_id, status="suspended")
    )

    assert isinstance(created, CreatedKey)
    async with opened_services(database_url, redis_url) as services:
        assert await services.accounts.list() == [suspended]
        assert await services.api_keys.list() == [created.summary]


async def test_publishing_what_is_missing_brings_the_gateways_up_to_date_once(
    database_url: str, redis_url: str
) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")
        created = await services.api_keys.create(account.account_id, "laptop")
    key_id = created.summary.key_id
    await saved_while_redis_is_away(database_url, lambda services: services.api_keys.revoke(key_id))
    await saved_while_redis_is_away(
        database_url, lambda services: services.accounts.change(account.account_id, cap_nano_usd=5)
    )

    async with opened_services(database_url, redis_url) as services:
        before = await key_scope(services, account.account_id, key_id)
        published = [await services.publication.publish_missing() for _ in range(2)]

        assert before["status"] == "active"
        assert published == [2, 0]
        assert (await key_scope(services, account.account_id, key_id))["status"] == "revoked"
        assert (await account_scope(services, account.account_id))["cap"] == "5"


async def test_while_redis_is_away_nothing_counts_as_published(database_url: str, redis_url: str) -> None:
    await saved_while_redis_is_away(database_url, lambda services: services.accounts.create("ACME", "basic"))

    await saved_while_redis_is_away(database_url, lambda services: services.publication.publish_missing())

    async with opened_services(database_url, redis_url) as services:
        assert await services.publication.publish_missing() == 1


async def test_more_changes_than_one_page_are_all_published(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        await services.pool.execute(
            "INSERT INTO accounts (name, plan) SELECT 'a' || number, 'basic' FROM generate_series(1, 1050) AS number"
        )

        assert await services.publication.publish_missing() == 1050
        assert (await account_scope(services, AccountId(1050)))["status"] == "active"


async def test_a_redis_that_is_away_for_a_moment_is_asked_again(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_services(database_url, redis_url) as services:
        refusals = iter([redis.exceptions.ConnectionError("away")] * (publication.TRIES - 1))
        publish = services.publication._directory.publish_account

        async def publish_late(*arguments: Any) -> int | None:
            for refusal in refusals:
                raise refusal
            return await publish(*arguments)

        monkeypatch.setattr(services.publication._directory, "publish_account", publish_late)

        account = await services.accounts.create("ACME", "basic")

        assert (await account_scope(services, account.account_id))["status"] == "active"


async def test_a_change_after_postgres_was_restored_from_a_backup_reaches_the_gateways(
    database_url: str, redis_url: str
) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")
        created = await services.api_keys.create(account.account_id, "laptop")
        key_id = created.summary.key_id
        for scope in (ShardKeys.of(account.account_id, SHARDS).account(account.account_id),
                      ShardKeys.of(account.account_id, SHARDS).key(key_id)):  # fmt: skip
            await services.redis.hset(scope, "revision", 40)  # What the changes after the backup had left there.

        await services.api_keys.revoke(key_id)
        await services.accounts.change(account.account_id, status="suspended")

        assert (await key_scope(services, account.account_id, key_id))["status"] == "revoked"
        assert (await account_scope(services, account.account_id))["status"] == "suspended"
        assert await services.publication.publish_missing() == 0
