import pytest

from core.accounts.plans import PLANS, Plan
from core.principal import AccountId
from core.usage.money import NANO_PER_USD
from portal_api.errors import InvalidName, UnknownAccount, UnknownPlan
from tests.portal_api.opened_services import account_scope, opened_services


@pytest.mark.parametrize("terms", PLANS.values(), ids=PLANS)
async def test_an_account_starts_with_the_limits_and_the_cap_of_its_plan(
    database_url: str, redis_url: str, terms: Plan
) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("  ACME ", terms.name)

        assert (account.name, account.plan, account.status) == ("ACME", terms.name, "active")
        assert account.cap_nano_usd == terms.price
        scope = await account_scope(services, account.account_id)
        assert scope["rpm"] == str(terms.requests_per_minute)
        assert scope["tpm"] == str(terms.tokens_per_minute)
        assert scope["concurrency"] == str(terms.concurrent_requests)
        assert scope["cap"] == str(terms.price)


@pytest.mark.parametrize("cap", [0, 1, 9_000_000 * NANO_PER_USD])
async def test_a_cap_of_its_own_takes_the_place_of_the_plans(database_url: str, redis_url: str, cap: int) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic", cap_nano_usd=cap)

        assert account.cap_nano_usd == cap
        assert (await account_scope(services, account.account_id))["cap"] == str(cap)


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", "a\nb", "a\udcffb"])
async def test_a_name_is_neither_empty_nor_endless_nor_unprintable(
    database_url: str, redis_url: str, name: str
) -> None:
    async with opened_services(database_url, redis_url) as services:
        with pytest.raises(InvalidName, match="1 to 200 characters"):
            await services.accounts.create(name, "basic")

        assert await services.accounts.list() == []


async def test_an_unknown_plan_is_refused_with_those_there_are(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        with pytest.raises(UnknownPlan, match=r"'gold'.*basic, pro"):
            await services.accounts.create("ACME", "gold")


async def test_accounts_are_listed_oldest_first(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        made = [await services.accounts.create(name, "basic") for name in "cab"]

        assert await services.accounts.list() == made


async def test_a_change_is_known_to_the_gateways_when_it_returns(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        account = await services.accounts.create("ACME", "basic")

        suspended = await services.accounts.change(account.account_id, status="suspended")
        capped = await services.accounts.change(account.account_id, cap_nano_usd=7)

        assert (suspended.status, suspended.cap_nano_usd) == ("suspended", account.cap_nano_usd)
        assert (capped.status, capped.cap_nano_usd) == ("suspended", 7)
        scope = await account_scope(services, account.account_id)
        assert (scope["status"], scope["cap"], scope["revision"]) == ("suspended", "7", "3")


async def test_an_account_that_nobody_has_cannot_be_changed(database_url: str, redis_url: str) -> None:
    async with opened_services(database_url, redis_url) as services:
        with pytest.raises(UnknownAccount, match="no account 99"):
            await services.accounts.change(AccountId(99), status="suspended")
