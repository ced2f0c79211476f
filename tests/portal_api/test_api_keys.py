from datetime import UTC, datetime
from typing import Any

import pytest

from core.accounts.api_key import Pepper, is_well_formed
from core.principal import AccountId, KeyId, Principal
from core.redis.keys import key_digest
from portal_api.api_keys import KeyLimits
from portal_api.errors import InvalidName, UnknownAccount, UnknownKey
from tests.portal_api.opened_services import PEPPER, key_scope, opened_services


async def test_a_created_key_is_found_by_the_gateways_at_once(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")

        created = await services.api_keys.create(account.account_id, "laptop")

        assert is_well_formed(created.key.text)
        assert created.summary.display_prefix == created.key.text[:12]
        entry: Any = await services.redis.get(key_digest(Pepper.parse(PEPPER).digest(created.key.text)))
        assert Principal.parse(entry) == Principal(account.account_id, created.summary.key_id)
        assert (await key_scope(services, account.account_id, created.summary.key_id))["status"] == "active"


async def test_a_key_has_the_limits_it_was_given(database_url: str, redis_url: str) -> None:
    limits = KeyLimits(
        models=("gpt-5", "dex-default"),
        requests_per_minute=1,
        tokens_per_minute=2,
        concurrent_requests=3,
        cap_nano_usd=4,
        expires_at=datetime(2027, 1, 1, tzinfo=UTC),
    )
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")

        created = await services.api_keys.create(account.account_id, "laptop", limits)

        scope = await key_scope(services, account.account_id, created.summary.key_id)
        wanted = {"models": ",gpt-5,dex-default,", "rpm": "1", "tpm": "2", "concurrency": "3", "cap": "4"}
        assert wanted.items() <= scope.items()
        assert scope["expires_at"] == "1798761600000"


async def test_a_revocation_is_known_to_the_gateways_when_it_returns(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")
        created = await services.api_keys.create(account.account_id, "laptop")

        revoked = await services.api_keys.revoke(created.summary.key_id)

        assert revoked.status == "revoked"
        assert revoked.revoked_at is not None
        assert (await key_scope(services, account.account_id, revoked.key_id))["status"] == "revoked"


async def test_a_second_revocation_keeps_the_moment_of_the_first(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")
        created = await services.api_keys.create(account.account_id, "laptop")

        first = await services.api_keys.revoke(created.summary.key_id)
        second = await services.api_keys.revoke(created.summary.key_id)

        assert second == first


async def test_keys_are_listed_with_their_account_or_all_revoked_ones_too(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        one, other = [await services.accounts.create(name, "basic") for name in ("one", "other")]
        keys = [
            (await services.api_keys.create(account.account_id, "k")).summary.key_id for account in (one, other, one)
        ]
        await services.api_keys.revoke(keys[0])

        of_all, of_one = await services.api_keys.list(), await services.api_keys.list(one.account_id)

        assert [key.key_id for key in of_all] == keys
        assert [(key.key_id, key.status) for key in of_one] == [(keys[0], "revoked"), (keys[2], "active")]


async def test_what_does_not_exist_is_refused_by_name(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        with pytest.raises(UnknownAccount, match="no account 99"):
            await services.api_keys.create(AccountId(99), "k")
        with pytest.raises(UnknownKey, match="no key 99"):
            await services.api_keys.revoke(KeyId(99))


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", "a\nb", "a\udcffb"])
async def test_a_key_has_a_name(database_url: str, redis_url: str, name: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")

        with pytest.raises(InvalidName, match="1 to 200 characters"):
            await services.api_keys.create(account.account_id, name)


async def test_a_created_key_shows_in_no_repr(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")

        created = await services.api_keys.create(account.account_id, "laptop")

        assert created.key.text[12:] not in repr(created)
