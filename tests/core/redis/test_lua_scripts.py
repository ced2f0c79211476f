import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from core.principal import AccountId, KeyId
from core.redis import script_calls
from core.redis.keys import ReservationKeys, shards
from core.redis.lua_scripts import Argument, load_script
from core.redis.script_runner import ScriptRunner
from core.usage.money import NANO_PER_USD
from tests.harness.servers import valkey

[SHARD] = shards(1)
ACCOUNT, KEY = SHARD.account(AccountId(1)), SHARD.key(KeyId(1))
PERIOD, EPOCH = "2026-11-01", "this server"
NAMES = sorted(
    file.name.removesuffix(".lua") for file in resources.files("core.redis").joinpath("lua").iterdir() if file.is_file()
)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_what_it_takes_and_what_it_returns(name: str) -> None:
    lines = load_script(name).text.splitlines()
    header = "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("--"))])

    assert "KEYS" in header
    assert "ARGV" in header
    assert "Returns" in header


@pytest.mark.parametrize("name", NAMES)
async def test_the_server_keeps_a_script_under_the_name_we_call_it_by(name: str, redis_url: str) -> None:
    script = load_script(name)

    async with valkey(redis_url) as client:
        stored = await client.script_load(script.text)

    assert stored == script.sha


def test_an_unknown_script_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_script("no_such_script")


def keys(number: int) -> ReservationKeys:
    return SHARD.reserved(ACCOUNT, KEY, str(UUID(int=number)))


class Bench:
    """One account with one key, and the scripts by name."""

    def __init__(self, client: Redis) -> None:
        self.redis = client
        self.scripts = ScriptRunner(client)

    async def open(self, **limits: int) -> None:
        for scope in (ACCOUNT, KEY):
            fields: dict[str, Argument | None] = {
                "status": "active",
                "period": PERIOD,
                "period_ends": 2**52,
                **(limits if scope == ACCOUNT else {}),
            }
            await self.scripts.run(script_calls.publish(scope, revision=1, epoch=EPOCH, totals=(), fields=fields))

    async def admit(self, number: int, *, input_cost: int, wanted: int, output_cost: int, fewest: int = 16) -> Any:
        return await self.scripts.run(
            script_calls.admit(
                keys(number),
                epoch=EPOCH,
                model="m",
                lease_ms=60_000,
                input_tokens=10,
                input_cost=input_cost,
                output_tokens=wanted,
                min_output_tokens=fewest,
                output_cost=output_cost,
                choices=1,
                event=b"{}",
            )
        )

    async def hold(self, number: int, cost: int) -> None:
        """Reserve exactly `cost`."""
        reply = await self.admit(number, input_cost=cost, wanted=0, output_cost=0, fewest=0)
        assert reply[:3] == [b"admitted", 0, cost]

    async def settle(self, number: int, cost: int) -> Any:
        return await self.scripts.run(
            script_calls.settle(keys(number), period=PERIOD, cost=cost, tokens=0, event=b"{}")
        )


@asynccontextmanager
async def bench(url: str) -> AsyncIterator[Bench]:
    async with valkey(url) as client:
        yield Bench(client)


async def test_the_worked_example_of_admit_is_what_it_does(redis_url: str) -> None:
    async with bench(redis_url) as here:
        await here.open(cap=1_000_000)
        await here.redis.hset(ACCOUNT, mapping={f"ledger:{PERIOD}": 600_000, f"pending:{PERIOD}": 100_000})

        outcome, granted, reserved, *_ = await here.admit(1, input_cost=50_000, wanted=1_000, output_cost=500)

        assert (outcome, granted, reserved) == (b"admitted", 500, 300_000)


@pytest.mark.parametrize("cap", [9_000_000 * NANO_PER_USD, 8_999_999_999_999_999, 100_000_000_000_000, 1])
async def test_a_cap_is_used_to_its_last_nano_dollar_and_not_beyond(redis_url: str, cap: int) -> None:
    async with bench(redis_url) as here:
        await here.open(cap=cap)

        whole = await here.admit(1, input_cost=cap, wanted=0, output_cost=0, fewest=0)
        one_more = await here.admit(2, input_cost=1, wanted=0, output_cost=0, fewest=0)
        free = await here.admit(3, input_cost=0, wanted=100, output_cost=0)
        settled = await here.settle(1, cap + 1)
        again = await here.admit(4, input_cost=1, wanted=0, output_cost=0, fewest=0)

        assert whole[:3] == [b"admitted", 0, cap]
        assert one_more == again == [b"cap", b"account", cap, 0]
        assert free[:3] == [b"admitted", 100, 0]
        assert settled == [cap, 1]
        assert await here.redis.hget(ACCOUNT, f"pending:{PERIOD}") == str(cap).encode()


@pytest.mark.parametrize("requests", [1, 7, 1_000])
async def test_requests_at_once_take_the_cap_exactly_and_none_is_denied_that_fits(
    redis_url: str, requests: int
) -> None:
    async with bench(redis_url) as here:
        await here.open(cap=requests * 333 + 332)
        batches = [range(start, min(start + 50, requests + 20)) for start in range(0, requests + 20, 50)]

        outcomes = [
            reply[0]
            for batch in batches
            for reply in await asyncio.gather(
                *(here.admit(number + 1, input_cost=333, wanted=0, output_cost=0, fewest=0) for number in batch)
            )
        ]

        assert outcomes.count(b"admitted") == requests
        assert outcomes.count(b"cap") == 20


async def test_an_answer_larger_than_its_grant_is_paid_from_what_others_only_hold(redis_url: str) -> None:
    """S23: an upstream ignored the output limit. The cap has room; that others have reserved it waives nothing."""
    async with bench(redis_url) as here:
        await here.open(cap=1_000)
        await here.hold(1, 100)
        for number in range(2, 11):
            await here.hold(number, 100)

        large = await here.settle(1, 600)
        rest = [await here.settle(number, 50) for number in range(2, 11)]

        assert large == [600, 0]
        assert rest == [[50, 0]] * 8 + [[0, 50]]
        assert await here.redis.hget(ACCOUNT, f"pending:{PERIOD}") == b"1000"


@pytest.mark.parametrize(("cap", "charged"), [(700, 500), (500, 500), (300, 300), (200, 300), (0, 300)])
async def test_a_cap_that_was_lowered_under_a_request_takes_at_most_what_was_reserved(
    redis_url: str, cap: int, charged: int
) -> None:
    """300 were reserved under a cap of 1,000; the answer costs 500."""
    async with bench(redis_url) as here:
        await here.open(cap=1_000)
        await here.hold(1, 300)
        await here.redis.hset(ACCOUNT, "cap", cap)

        assert await here.settle(1, 500) == [charged, 500 - charged]


async def test_nothing_that_was_reserved_passes_the_highest_cap_since(redis_url: str) -> None:
    async with bench(redis_url) as here:
        await here.open(cap=1_000)
        await here.hold(1, 600)
        await here.hold(2, 400)
        await here.redis.hset(ACCOUNT, "cap", 10)

        assert await here.settle(1, 600) == [600, 0]
        await here.redis.hincrby(ACCOUNT, f"pending:{PERIOD}", 300)  # More than its grant, by another answer.
        assert await here.settle(2, 400) == [100, 300]


@pytest.mark.parametrize(("tpm", "granted"), [(16_400, 16_384), (1_010, 1_000), (26, 16), (25, None), (5, None)])
async def test_an_output_limit_that_a_whole_minute_cannot_pay_is_lowered_to_what_it_can(
    redis_url: str, tpm: int, granted: int | None
) -> None:
    """A default output larger than the tokens per minute of a small key must not refuse its every request."""
    async with bench(redis_url) as here:
        await here.open(tpm=tpm)

        reply = await here.admit(1, input_cost=0, wanted=16_384, output_cost=0)

        assert reply[:2] == ([b"admitted", granted] if granted else [b"oversized", b"account"])
