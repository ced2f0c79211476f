from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis.exceptions

from core.principal import AccountId
from core.redis.keys import ShardKeys
from deploy.office import Office
from portal_api import publication
from portal_api.api_keys import CreatedKey
from portal_api.publication import NotPublished
from tests.portal_api.front_office import NOWHERE, SHARDS, account_scope, front_office, key_scope


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0.001)


async def saved_while_redis_is_away(database_url: str, change: Callable[[Office], Awaitable[Any]]) -> Any:
    async with front_office(database_url, NOWHERE) as office:
        with pytest.raises(NotPublished, match=r"saved.*keys publish") as caught:
            await change(office)
    return caught.value.saved


async def test_a_change_that_the_gateways_cannot_be_told_is_saved_and_handed_back(
    database_url: str, redis_url: str
) -> None:
    account = await saved_while_redis_is_away(database_url, lambda office: office.accounts.create("ACME", "basic"))
    created = await saved_while_redis_is_away(
        database_url, lambda office: office.api_keys.create(account.account_id, "laptop")
    )
    suspended = await saved_while_redis_is_away(
        database_url, lambda office: office.accounts.change(account.account_id, status="suspended")
    )

    assert isinstance(created, CreatedKey)
    async with front_office(database_url, redis_url) as office:
        assert await office.accounts.list() == [suspended]
        assert await office.api_keys.list() == [created.summary]


async def test_publishing_what_is_missing_brings_the_gateways_up_to_date_once(
    database_url: str, redis_url: str
) -> None:
    async with front_office(database_url, redis_url) as office:
        account = await office.accounts.create("ACME", "basic")
        created = await office.api_keys.create(account.account_id, "laptop")
    key_id = created.summary.key_id
    await saved_while_redis_is_away(database_url, lambda office: office.api_keys.revoke(key_id))
    await saved_while_redis_is_away(
        database_url, lambda office: office.accounts.change(account.account_id, cap_nano_usd=5)
    )

    async with front_office(database_url, redis_url) as office:
        before = await key_scope(office, account.account_id, key_id)
        published = [await office.publication.publish_missing() for _ in range(2)]

        assert before["status"] == "active"
        assert published == [2, 0]
        assert (await key_scope(office, account.account_id, key_id))["status"] == "revoked"
        assert (await account_scope(office, account.account_id))["cap"] == "5"


async def test_while_redis_is_away_nothing_counts_as_published(database_url: str, redis_url: str) -> None:
    await saved_while_redis_is_away(database_url, lambda office: office.accounts.create("ACME", "basic"))

    await saved_while_redis_is_away(database_url, lambda office: office.publication.publish_missing())

    async with front_office(database_url, redis_url) as office:
        assert await office.publication.publish_missing() == 1


async def test_more_changes_than_one_page_are_all_published(database_url: str, redis_url: str) -> None:
    async with front_office(database_url, redis_url) as office:
        await office.pool.execute(
            "INSERT INTO accounts (name, plan) SELECT 'a' || number, 'basic' FROM generate_series(1, 1050) AS number"
        )

        assert await office.publication.publish_missing() == 1050
        assert (await account_scope(office, AccountId(1050)))["status"] == "active"


async def test_a_redis_that_is_away_for_a_moment_is_asked_again(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front_office(database_url, redis_url) as office:
        refusals = iter([redis.exceptions.ConnectionError("away")] * (publication.TRIES - 1))
        publish = office.publication._directory.publish_account

        async def publish_late(*arguments: Any) -> int | None:
            for refusal in refusals:
                raise refusal
            return await publish(*arguments)

        monkeypatch.setattr(office.publication._directory, "publish_account", publish_late)

        account = await office.accounts.create("ACME", "basic")

        assert (await account_scope(office, account.account_id))["status"] == "active"


async def test_a_change_after_postgres_was_restored_from_a_backup_reaches_the_gateways(
    database_url: str, redis_url: str
) -> None:
    async with front_office(database_url, redis_url) as office:
        account = await office.accounts.create("ACME", "basic")
        created = await office.api_keys.create(account.account_id, "laptop")
        key_id = created.summary.key_id
        for scope in (ShardKeys.of(account.account_id, SHARDS).account(account.account_id),
                      ShardKeys.of(account.account_id, SHARDS).key(key_id)):  # fmt: skip
            await office.redis.hset(scope, "revision", 40)  # What the changes after the backup had left there.

        await office.api_keys.revoke(key_id)
        await office.accounts.change(account.account_id, status="suspended")

        assert (await key_scope(office, account.account_id, key_id))["status"] == "revoked"
        assert (await account_scope(office, account.account_id))["status"] == "suspended"
        assert await office.publication.publish_missing() == 0
