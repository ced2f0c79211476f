import asyncio
import contextlib
from datetime import date
from typing import Any

import pytest
from redis.exceptions import RedisError

from core.accounts.key_directory import server_epoch
from core.principal import AccountId, KeyId
from core.redis.keys import ShardKeys, shards
from deploy.local.servers.valkey import ValkeyServer
from metering.errors import StreamTooLong
from metering.repair.counter_watch import CounterWatch
from metering.repair.counters import Counters
from tests.metering.events import NOW, PERIOD, event
from tests.metering.workbench import SHARDS, Workbench, workbench


async def used_account(bench: Workbench, *, recorded: int = 3, waiting: int = 2) -> tuple[int, int]:
    """An account with one key, some events in the ledger, some in the stream, one live reservation of 900."""
    account, (key,) = await bench.create_account()
    await publish(bench, account, key)
    await bench.settle_all(event(account, key, cost=1_000) for _ in range(recorded))
    await bench.drain()
    await bench.settle_all(event(account, key, cost=10) for _ in range(waiting))
    await bench.admit(event(account, key), cost=900)
    return account, key


async def publish(bench: Workbench, account: int, key: int) -> None:
    await bench.directory.publish_account(AccountId(account))
    await bench.directory.publish_key(KeyId(key))


async def test_counters_that_agree_have_no_difference(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await used_account(bench)

        differences = await bench.counters.check()

        assert differences == []


@pytest.mark.parametrize(
    ("field", "right"),
    [("pending:{period}", "20"), ("ledger:{period}", "3000"), ("reserved", "900"), ("in_flight", "1")],
)
async def test_a_counter_that_drifted_is_found_and_set_right(
    database_url: str, redis_url: str, field: str, right: str
) -> None:
    field = field.format(period=PERIOD)
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        shard = ShardKeys.of(AccountId(account), SHARDS)
        for scope in (shard.account(AccountId(account)), shard.key(KeyId(key))):
            await bench.redis.hset(scope, field, 77)

        found = await bench.counters.check()
        rebuilt = await bench.counters.rebuild([AccountId(account)])

        assert [(item.field, item.stored, item.expected) for item in found] == [(field, 77, int(right))] * 2
        assert set(rebuilt) == set(found)
        assert (await bench.account(account))[field] == right
        assert await bench.counters.check() == []


async def test_ten_rebuilds_at_once_leave_what_one_leaves(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await used_account(bench)
        await bench.counters.rebuild()
        before = await bench.account(account)
        scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
        names = f"ledger:{PERIOD}", f"ledger_version:{PERIOD}", f"pending:{PERIOD}", "reserved", "in_flight"
        await bench.redis.hdel(scope, *names)

        await asyncio.gather(*(bench.counters.rebuild() for _ in range(10)))

        assert await bench.account(account) == before


async def test_rebuilds_under_load_end_with_the_right_counters(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        events = [event(account, key, cost=number) for number in range(200)]

        async def load() -> None:
            for item in events:
                await bench.settle(item)

        async def rebuild() -> None:
            for _ in range(10):
                await bench.counters.rebuild()

        await asyncio.gather(load(), rebuild(), rebuild(), bench.drain(bench.consumer(batch_size=10)))
        await bench.drain()

        assert await bench.counters.check() == []
        assert (await bench.account(account))[f"ledger:{PERIOD}"] == str(3_000 + 20 + sum(range(200)))


async def test_an_emptied_redis_holds_the_ledger_again_after_a_rebuild(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench, waiting=0)
        await bench.redis.flushall()

        await publish(bench, account, key)
        differences = await bench.counters.rebuild()

        scope = await bench.account(account)
        assert differences == []
        assert scope[f"ledger:{PERIOD}"] == "3000"


async def test_a_redis_that_came_back_older_is_set_right_at_the_first_look(
    database_url: str, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await used_account(bench, recorded=3)
        watch = CounterWatch(bench.redis, bench.counters, check_seconds=3_600)
        await watch.round()
        scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
        older: dict[Any, Any] = {f"ledger:{PERIOD}": 1_000, f"ledger_version:{PERIOD}": 1}
        await bench.redis.hset(scope, mapping=older)

        await watch.round()
        same_server = (await bench.account(account))[f"ledger:{PERIOD}"]
        valkey_server.restart()
        with contextlib.suppress(RedisError):  # Of a connection to the old server.
            await watch.round()
        await watch.round()

        assert same_server == "1000"
        assert (await bench.account(account))[f"ledger:{PERIOD}"] == "3000"
        # Gateways admit again without a look at Postgres of their own.
        assert (await bench.account(account))["epoch"] == await server_epoch(bench.redis)
        assert await bench.counters.check() == []


async def test_a_key_that_an_older_redis_brought_back_is_revoked_again(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        await bench.pool.execute("UPDATE api_keys SET status = 'revoked', revision = revision + 1")

        found = await bench.counters.check()
        await bench.counters.rebuild()

        scope = await bench.scope(ShardKeys.of(AccountId(account), SHARDS).key(KeyId(key)))
        assert [(item.field, item.stored, item.expected) for item in found] == [("revision", 1, 2)]
        assert scope["status"] == "revoked"
        assert await bench.counters.check() == []


async def test_newer_limits_than_those_in_postgres_are_left_alone(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await used_account(bench)
        scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
        await bench.redis.hset(scope, "revision", 9)

        assert await bench.counters.check() == []
        assert await bench.counters.rebuild() == []


async def test_a_scope_that_redis_does_not_know_is_left_to_whoever_needs_it(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await bench.create_account()

        assert await bench.counters.rebuild() == []
        assert await bench.account(account) == {}


async def test_a_database_that_was_restored_overrules_a_newer_redis(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await used_account(bench, recorded=3)
        await bench.pool.execute("UPDATE usage_periods SET version = 1, charged_nano_usd = 1000")

        await bench.counters.rebuild()

        assert (await bench.account(account))[f"ledger:{PERIOD}"] == "1000"


async def test_an_event_that_waits_for_its_confirmation_is_no_difference(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench, waiting=0)
        await bench.settle(event(account, key, cost=5))
        consumer, streams = bench.consumer("late"), bench.streams("late")
        settled, totals = await consumer.record(await streams.read_new(10, block_ms=10))

        check = asyncio.create_task(bench.counters.check())
        await asyncio.sleep(0.1)
        await streams.confirm(settled, totals)

        assert await check == []


async def test_fields_of_a_period_that_is_over_are_removed_once_nothing_is_pending_in_it(
    database_url: str, redis_url: str
) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
        old: dict[Any, Any] = {f"{kind}:2020-01-01": 0 for kind in ("ledger", "ledger_version", "pending")}
        await bench.redis.hset(scope, mapping=old)
        late = event(account, key, at=NOW, cost=7, period=date(2020, 2, 1))
        await bench.settle(late)

        await bench.counters.rebuild()

        fields = await bench.account(account)
        assert not [name for name in fields if "2020-01-01" in name]
        assert fields["pending:2020-02-01"] == "7"


async def test_a_parked_entry_leaves_no_difference_behind(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        await bench.settle(event(account, key, status=70_000))

        await bench.drain()

        assert await bench.counters.check() == []


async def test_an_entry_that_only_the_consumer_finds_unreadable_counts_until_it_is_parked(
    database_url: str, redis_url: str
) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        await bench.put(event(account, key), e=b"not json at all")

        differences = await bench.counters.check()

        assert differences == []


async def test_the_amount_of_an_unreadable_entry_leaves_pending_at_the_next_check(
    database_url: str, redis_url: str
) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench, waiting=0)
        await bench.settle(event(account, key, cost=40))
        await bench.redis.xtrim(ShardKeys.of(AccountId(account), SHARDS).usage_stream, maxlen=0, approximate=False)
        await bench.put(event(account, key), e=b"not json at all", c=40)
        await bench.drain()
        watch = CounterWatch(bench.redis, bench.counters, check_seconds=0)

        await watch.round()

        assert (await bench.account(account))[f"pending:{PERIOD}"] == "0"
        assert await bench.counters.check() == []


async def test_while_the_consumers_are_behind_the_caps_are_restored_and_nothing_is_counted(
    database_url: str, redis_url: str
) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, _ = await used_account(bench, recorded=3, waiting=2)
        scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
        older: dict[Any, Any] = {f"ledger:{PERIOD}": 0, f"ledger_version:{PERIOD}": 0, f"pending:{PERIOD}": 7}
        await bench.redis.hset(scope, mapping=older)
        counters = Counters(bench.pool, bench.redis, shard_count=SHARDS, now=lambda: NOW, max_stream_length=1)

        await CounterWatch(bench.redis, counters, check_seconds=0).round()

        restored = await bench.account(account)
        assert int(restored[f"ledger:{PERIOD}"]) > 0
        assert restored[f"pending:{PERIOD}"] == "7"


async def test_a_stream_that_is_too_long_is_not_counted(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await used_account(bench, waiting=2)
        counters = Counters(bench.pool, bench.redis, shard_count=SHARDS, now=lambda: NOW, max_stream_length=1)

        with pytest.raises(StreamTooLong, match="2 entries"):
            await counters.rebuild()


async def test_accounts_of_every_shard_are_compared_in_one_check(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        for _ in range(8):
            account, _ = await used_account(bench, recorded=1, waiting=0)
            scope = ShardKeys.of(AccountId(account), SHARDS).account(AccountId(account))
            await bench.redis.hset(scope, "in_flight", 9)

        differences = await Counters(bench.pool, bench.redis, shard_count=SHARDS, now=lambda: NOW).check()

        assert [item.field for item in differences] == ["in_flight"] * 8


async def test_a_check_counts_a_shard_once_and_holds_redis_up_for_no_more_than_a_slice(
    database_url: str, redis_url: str
) -> None:
    """B18: a script of up to 80 ms for each 500 scopes, each time over the whole stream and all leases."""
    async with workbench(database_url, redis_url) as bench:
        account, keys = await bench.create_account(keys=3)
        for key in keys:
            await publish(bench, account, key)
        await bench.settle_all(event(account, keys[number % 3], cost=10) for number in range(1_200))
        for number in range(700):
            await bench.admit(event(account, keys[number % 3]), cost=5)
        await bench.redis.config_resetstat()

        differences = await bench.counters.check()

        commands: Any = await bench.redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in commands.items()}
        assert differences == []
        assert calls["xrange"] == 3
        assert calls["hgetall"] == 2 * (1 + len(keys))
        assert "evalsha" not in calls


async def test_each_process_checks_its_own_shards(database_url: str, redis_url: str) -> None:
    """B18: each process checked all of them."""
    async with workbench(database_url, redis_url) as bench:
        for _ in range(8):
            account, _ = await used_account(bench, recorded=1, waiting=0)
            shard = ShardKeys.of(AccountId(account), SHARDS)
            await bench.redis.hset(shard.account(AccountId(account)), "in_flight", 9)

        parts = [
            await Counters(bench.pool, bench.redis, shard_count=SHARDS, now=lambda: NOW, only=[shard]).check()
            for shard in shards(SHARDS)
        ]

        assert sum(map(len, parts)) == 8
        assert max(map(len, parts)) < 8


async def test_a_difference_of_a_busy_account_is_found(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        keys = ShardKeys.of(AccountId(account), SHARDS)
        await bench.redis.hincrby(keys.account(AccountId(account)), f"pending:{PERIOD}", 77)
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                await bench.settle(event(account, key, cost=3))
                await asyncio.sleep(0.05)

        busy = asyncio.create_task(load())
        found = await bench.counters.check()
        async with asyncio.timeout(20):
            while await bench.counters.check():
                await bench.counters.rebuild()
        stop.set()
        await busy

        assert [(item.field, item.stored - item.expected) for item in found] == [(f"pending:{PERIOD}", 77)]


async def test_after_a_start_of_redis_every_scope_is_vouched_for_at_once(
    database_url: str, redis_url: str, valkey_server: ValkeyServer
) -> None:
    """S8: a scope that was not published for this very server is cold. One rebuild, not a look-up for each account."""
    async with workbench(database_url, redis_url) as bench:
        account, key = await used_account(bench)
        watch = CounterWatch(bench.redis, bench.counters, check_seconds=3_600)
        await watch.round()
        before = (await bench.account(account))["epoch"]

        valkey_server.restart()
        with contextlib.suppress(RedisError):  # Of a connection to the old server.
            await watch.round()
        await watch.round()

        shard = ShardKeys.of(AccountId(account), SHARDS)
        names = shard.account(AccountId(account)), shard.key(KeyId(key))
        assert {(await bench.scope(name))["epoch"] for name in names} == {await server_epoch(bench.redis)} != {before}
