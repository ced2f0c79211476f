"""The shared connection to a real Valkey: order, time-outs, loss, return, and callers that leave."""

import asyncio
import contextlib
import time
from contextlib import AbstractAsyncContextManager

import pytest
from redis.asyncio import Redis

from core.redis.lua_scripts import Call, LuaScript
from deploy.local.servers.valkey import ValkeyServer
from gateway.store import redis_pipeline
from gateway.store.redis_pipeline import RedisAway, RedisPipeline, RedisReplyError, RedisUnanswered
from tests.harness import pipelines
from tests.harness.servers import valkey
from tests.harness.waiting import until

ECHO = LuaScript("echo", "return {KEYS[1], ARGV[1]}")
APPEND = LuaScript("append", "return redis.call('RPUSH', KEYS[1], ARGV[1])")
SCRIPTS = [ECHO, APPEND]
REPLY_SECONDS = 0.3


def pipeline(
    url: str, changes: list[bool] | None = None, reply_seconds: float = REPLY_SECONDS
) -> AbstractAsyncContextManager[RedisPipeline]:
    changes = [] if changes is None else changes
    return pipelines.running(url, SCRIPTS, reply_seconds=reply_seconds, on_change=changes.append)


def connected(url: str, reply_seconds: float = REPLY_SECONDS) -> AbstractAsyncContextManager[RedisPipeline]:
    return pipelines.connected(url, SCRIPTS, reply_seconds=reply_seconds)


async def test_a_thousand_calls_at_once_get_each_its_own_reply(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        replies = await asyncio.gather(*(redis.call(Call("echo", (f"k{n}",), (n,))) for n in range(1000)))

    assert replies == [[f"k{n}".encode(), str(n).encode()] for n in range(1000)]


async def test_calls_of_one_turn_travel_together_over_one_connection(redis_url: str) -> None:
    async with connected(redis_url) as redis, valkey(redis_url) as observer:
        before = await observer.info("stats")
        await asyncio.gather(*(redis.command("PING") for _ in range(500)))
        after = await observer.info("stats")

    assert after["total_reads_processed"] - before["total_reads_processed"] < 20
    assert after["total_connections_received"] == before["total_connections_received"]


async def test_calls_are_executed_in_the_order_in_which_they_were_made(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        for number in range(300):
            redis.call(Call("append", ("order",), (number,)))
        await redis.call(Call("append", ("order",), ("last",)))
        entries = await redis.command("LRANGE", "order", 0, -1)

    assert entries == [str(number).encode() for number in range(300)] + [b"last"]


async def test_arguments_arrive_byte_for_byte(redis_url: str) -> None:
    binary = bytes(range(256)) * 40
    async with connected(redis_url) as redis:
        reply = await redis.call(Call("echo", ("schlüssel",), (binary,)))

    assert reply == ["schlüssel".encode(), binary]


async def test_a_refused_command_fails_alone(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        good, bad, other = await asyncio.gather(
            redis.command("PING"), redis.command("NOSUCH"), redis.command("PING"), return_exceptions=True
        )

    assert isinstance(bad, RedisReplyError)
    assert (good, other) == (b"PONG", b"PONG")


async def test_a_caller_that_leaves_takes_nobodys_reply(redis_url: str) -> None:
    async with connected(redis_url) as redis:
        calls = [asyncio.ensure_future(redis.call(Call("echo", (f"k{n}",), ("x",)))) for n in range(100)]
        for call in calls[::3]:
            call.cancel()
        replies = await asyncio.gather(*calls, return_exceptions=True)

    kept = [reply for n, reply in enumerate(replies) if n % 3]
    assert kept == [[f"k{n}".encode(), b"x"] for n in range(100) if n % 3]


async def test_without_a_connection_a_call_fails_at_once(redis_url: str, valkey_server: ValkeyServer) -> None:
    valkey_server.stop()
    async with pipeline(redis_url) as redis:
        began = time.monotonic()

        with pytest.raises(RedisAway):
            await redis.call(Call("echo", ("k",), ("v",)))

        assert time.monotonic() - began < REPLY_SECONDS


async def test_a_killed_server_fails_what_waits_and_is_found_again(redis_url: str, valkey_server: ValkeyServer) -> None:
    changes: list[bool] = []
    async with pipeline(redis_url, changes) as redis:
        await until(lambda: redis.connected)
        valkey_server.pause()
        calls = [redis.command("PING") for _ in range(10)]
        await asyncio.sleep(0)
        valkey_server.kill()
        failures = await asyncio.gather(*calls, return_exceptions=True)
        valkey_server.start()
        await until(lambda: redis.connected)
        reply = await redis.call(Call("echo", ("k",), ("v",)))  # The scripts are loaded again.

    assert {type(failure) for failure in failures} == {RedisUnanswered}
    assert reply == [b"k", b"v"]
    assert changes[:3] == [True, False, True]


async def test_a_frozen_server_fails_what_waits_within_the_bound(redis_url: str, valkey_server: ValkeyServer) -> None:
    """F50"""
    async with connected(redis_url) as redis:
        valkey_server.pause()
        began = time.monotonic()

        results = await asyncio.gather(*(redis.command("PING") for _ in range(100)), return_exceptions=True)
        waited = time.monotonic() - began
        valkey_server.resume()
        await until(lambda: redis.connected)

        assert {type(result) for result in results} == {RedisUnanswered}
        assert REPLY_SECONDS <= waited < REPLY_SECONDS + 1.0
        assert await redis.command("PING") == b"PONG"


async def test_a_slow_but_steady_server_is_not_taken_for_frozen(redis_url: str) -> None:
    """Many calls, each quick, that take longer than the bound together: the bound is for the oldest unanswered."""
    async with connected(redis_url, reply_seconds=0.5) as redis:
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            await asyncio.gather(*(redis.call(Call("echo", ("k",), ("v",))) for _ in range(50)))

        assert redis.connected


async def test_replies_to_calls_of_a_lost_connection_reach_nobody(redis_url: str, valkey_server: ValkeyServer) -> None:
    """What the frozen server executes later is answered on a connection that is closed; new calls get their own."""
    async with connected(redis_url) as redis:
        valkey_server.pause()
        with pytest.raises(RedisAway):
            await redis.call(Call("echo", ("old",), ("old",)))
        valkey_server.resume()
        await until(lambda: redis.connected)

        replies = await asyncio.gather(*(redis.call(Call("echo", ("new",), (n,))) for n in range(20)))

    assert replies == [[b"new", str(n).encode()] for n in range(20)]


async def test_a_wrong_password_is_no_connection(redis_url: str) -> None:
    wrong = redis_url.replace("redis://:", "redis://:not-")
    async with valkey(redis_url) as client:
        before = await denied(client, "auth")
        async with pipeline(wrong) as redis:
            await until_denied(client, "auth", before)

            assert not redis.connected
            with pytest.raises(RedisAway):
                redis.command("PING")


async def denied(client: Redis, what: str) -> int:
    """How often this server has refused a password ("auth") or a command ("cmd")."""
    return int((await client.info("stats"))[f"acl_access_denied_{what}"])


async def until_denied(client: Redis, what: str, before: int) -> None:
    async def once_more() -> bool:
        return await denied(client, what) > before

    await until(once_more, f"a refused {what}")


async def test_a_server_that_speaks_nonsense_is_dropped() -> None:
    dropped = asyncio.Event()

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await reader.read()
        dropped.set()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, pipeline(f"redis://127.0.0.1:{port}/0") as redis:
        await dropped.wait()

        assert not redis.connected


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
async def test_replies_of_any_size_come_whole(redis_url: str, size: int) -> None:
    async with connected(redis_url, reply_seconds=5.0) as redis:
        replies = await asyncio.gather(*(redis.call(Call("echo", (str(n),), (b"x" * size,))) for n in range(5)))

    assert replies == [[str(n).encode(), b"x" * size] for n in range(5)]


async def test_a_connection_learns_which_life_of_the_server_it_speaks_to(
    redis_url: str, valkey_server: ValkeyServer
) -> None:
    """S8: a restarted server may have lost what it was told last; its `run_id` tells."""
    async with valkey(redis_url) as observer, connected(redis_url) as redis:
        info = await observer.info("server")
        first = redis.epoch
        valkey_server.kill()
        await until(lambda: not redis.connected)
        between = redis.epoch
        valkey_server.start()
        await until(lambda: redis.connected)
        second = redis.epoch

    assert (first, between) == (info["run_id"], "")
    assert len(second) == 40
    assert second != first


async def test_a_database_named_in_the_query_is_the_one_that_is_used(redis_url: str) -> None:
    """B22"""
    async with connected(redis_url.removesuffix("/0") + "?db=2") as redis, valkey(redis_url) as observer:
        await redis.call(Call("append", ("list",), ("x",)))

        assert await observer.exists("list") == 0
        await redis.command("FLUSHDB")


async def test_a_user_who_may_do_little_still_gets_each_reply_to_its_own_call(redis_url: str) -> None:
    """B11: a command that is refused has one reply like any other, and moves nobody's."""
    rights = ["-@all", "+auth", "+client|setname", "+select", "+info", "+script|load", "+evalsha", "~*"]
    async with connected(redis_url) as services:
        await services.command("ACL", "SETUSER", "narrow", "on", ">word", *rights)
    address = redis_url.partition("@")[2]

    async with connected(f"redis://narrow:word@{address}") as redis:
        calls = [redis.call(Call("echo", ("k",), (n,))) if n % 3 else redis.command("PING") for n in range(30)]
        replies = await asyncio.gather(*calls, return_exceptions=True)

    assert [reply for n, reply in enumerate(replies) if n % 3] == [[b"k", b"%d" % n] for n in range(30) if n % 3]
    assert {type(reply) for reply in replies[::3]} == {RedisReplyError}


async def test_a_server_that_is_still_loading_is_no_connection_until_it_has_loaded() -> None:
    """It answers, and every answer is an error; the scripts could not be called."""
    refused, loaded = asyncio.Event(), asyncio.Event()

    async def loading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                words = await read_command(reader)
                if words[0] == b"INFO":
                    info = b"# Server\r\nrun_id:" + b"a" * 40 + b"\r\n"
                    writer.write(b"$%d\r\n%b\r\n" % (len(info), info))
                elif loaded.is_set() or words[0] == b"CLIENT":
                    writer.write(b"+OK\r\n")
                else:
                    writer.write(b"-LOADING server is loading the dataset in memory\r\n")
                    refused.set()
        writer.close()

    server = await asyncio.start_server(loading, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, pipeline(f"redis://127.0.0.1:{port}/0") as redis:
        await refused.wait()
        before = redis.connected
        loaded.set()
        await until(lambda: redis.connected)

        assert not before
        assert redis.epoch == "a" * 40


async def read_command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


async def test_too_many_unanswered_commands_are_refused_at_once_and_the_others_go_on(
    redis_url: str, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_pipeline, "MAX_UNANSWERED", 100)
    async with connected(redis_url, reply_seconds=5.0) as redis:
        valkey_server.pause()
        waiting = [redis.command("PING") for _ in range(100)]
        with pytest.raises(RedisAway, match="too many"):
            redis.command("PING")
        valkey_server.resume()

        assert await asyncio.gather(*waiting) == [b"PONG"] * 100
        assert await redis.command("PING") == b"PONG"


async def test_a_server_that_names_no_life_of_itself_is_no_connection(redis_url: str) -> None:
    """S8: without its `run_id` nobody could tell whether it still knows what it was told."""
    async with valkey(redis_url) as client:
        await client.acl_setuser(
            "blind", enabled=True, passwords=["+x"], keys=["*"], categories=["+@all"], commands=["-info"]
        )
        try:
            place = redis_url.rpartition("@")[2]
            before = await denied(client, "cmd")
            async with pipeline(f"redis://blind:x@{place}") as redis:
                await until_denied(client, "cmd", before)

                assert not redis.connected
        finally:
            await client.acl_deluser("blind")


async def test_the_time_of_the_last_answer_outlives_the_connection(redis_url: str, valkey_server: ValkeyServer) -> None:
    """S4: what Redis confirmed just before that may be gone."""
    async with connected(redis_url) as redis:
        before = asyncio.get_running_loop().time()
        await redis.command("PING")
        valkey_server.kill()
        await until(lambda: not redis.connected)

        assert before <= redis.answered_at <= asyncio.get_running_loop().time()
