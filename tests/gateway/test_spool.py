"""The spool on a real disk in front of a real Valkey: full disks, damaged files, files of the dead, two writers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.lua_scripts import LuaScript
from core.settings import Secret
from deploy.local.valkey import ValkeyServer
from gateway.redis_pipeline import RedisPipeline
from gateway.spool import Spool, SpoolFailed
from gateway.spool_file import Record, adopt_files, create_file
from tests.services import valkey

APPEND = LuaScript("settle", "return redis.call('RPUSH', KEYS[1], ARGV[1])")
"""Stands for any ending: what Redis got, in order."""
PUT_ON_LIST = ("settle", ("endings",))


@asynccontextmanager
async def pipeline(url: str) -> AsyncIterator[RedisPipeline]:
    redis = RedisPipeline(Secret(url), [APPEND], reply_seconds=2.0)
    task = asyncio.create_task(redis.run())
    try:
        yield redis
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisPipeline]:
    async with pipeline(url) as redis:
        async with asyncio.timeout(5):
            while not redis.connected:  # noqa: ASYNC110  The connection is made by another task.
                await asyncio.sleep(0.005)
        yield redis


async def endings(url: str) -> list[str]:
    async with valkey(url) as client:
        entries: list[Any] = await client.lrange("endings", 0, -1)
    return [entry.decode() for entry in entries]


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def fill_up(spool: Spool) -> None:
    """From now on the disk has no room for the file that the spool writes to."""
    assert spool._current is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, spool._current.handle.fileno())
    os.close(full)


def write(directory: Path, *event_ids: str) -> Path:
    """A file as a process that has died leaves it."""
    file = create_file(directory)
    file.append(b"".join(Record(*PUT_ON_LIST, (event_id,)).encode() for event_id in event_ids))
    file.close()
    return file.path


async def test_endings_are_on_the_disk_when_their_futures_end(tmp_path: Path, redis_url: str) -> None:
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        futures = [spool.put(*PUT_ON_LIST, (f"event-{number}",)) for number in range(100)]

        await spool.flush()

        [file] = files_in(tmp_path)
        assert all(future.done() for future in futures)
        assert file.read_bytes().count(b"\n") == 100
        assert not spool.empty
        await spool.replay()  # Closes the file.


async def test_endings_are_replayed_in_order_and_their_file_goes(tmp_path: Path, redis_url: str) -> None:
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        for number in range(1200):
            spool.put(*PUT_ON_LIST, (str(number),))
        await spool.flush()

        await spool.replay()

    assert await endings(redis_url) == [str(number) for number in range(1200)]
    assert files_in(tmp_path) == []
    assert spool.empty


async def test_two_flushes_at_once_write_everything_once(tmp_path: Path, redis_url: str) -> None:
    """The process flushes at its end, while its writer may be in the middle of the same."""
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        first = [spool.put(*PUT_ON_LIST, (str(number),)) for number in range(50)]
        flushes = [asyncio.create_task(spool.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        second = [spool.put(*PUT_ON_LIST, (str(number),)) for number in range(50, 100)]

        await asyncio.gather(*flushes)
        await spool.flush()
        await asyncio.gather(*first, *second)
        await asyncio.gather(spool.replay(), spool.replay())

    assert await endings(redis_url) == [str(number) for number in range(100)]


async def test_files_of_the_dead_are_adopted_and_those_of_the_living_are_not(tmp_path: Path, redis_url: str) -> None:
    write(tmp_path, "dead-1", "dead-2")
    living = create_file(tmp_path)
    living.append(Record(*PUT_ON_LIST, ("living",)).encode())

    async with connected(redis_url) as redis:
        await Spool(tmp_path, redis).replay()

    assert await endings(redis_url) == ["dead-1", "dead-2"]
    assert files_in(tmp_path) == [living.path]
    living.remove()


async def test_a_file_is_adopted_by_one_of_several(tmp_path: Path) -> None:
    write(tmp_path, "one")

    first, second = adopt_files(tmp_path), adopt_files(tmp_path)

    assert (len(first), len(second)) == (1, 0)
    first[0].remove()


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda text: text[:-9], ["a", "b"]),  # Power loss in the middle of the last record.
        (lambda text: text.replace(b'"b"', b'"x"'), ["a", "c"]),
        (lambda text: b"\x00" * 40 + b"\n" + text, ["a", "b", "c"]),
        (lambda text: b"", []),
        (lambda text: text + b"\n\n", ["a", "b", "c"]),
        (lambda text: os.urandom(300).replace(b"\n", b" ") + b"\n" + text, ["a", "b", "c"]),
    ],
    ids=["half a record", "a changed letter", "zeros", "empty", "blank lines", "noise"],
)
async def test_a_damaged_record_costs_no_other(tmp_path: Path, redis_url: str, damage: object, left: list[str]) -> None:
    path = write(tmp_path, "a", "b", "c")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]

    async with connected(redis_url) as redis:
        await Spool(tmp_path, redis).replay()

    assert await endings(redis_url) == left


async def test_when_the_disk_refuses_endings_wait_in_memory_and_intents_are_refused(
    tmp_path: Path, redis_url: str
) -> None:
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with connected(redis_url) as redis:
        spool = Spool(directory, redis)
        ending = spool.put(*PUT_ON_LIST, ("ending",))
        intent = spool.put_intent(*PUT_ON_LIST, ("intent",))

        await spool.flush()

        assert ending.done()
        assert isinstance(intent.exception(), SpoolFailed)
        assert not spool.healthy

        directory.unlink()
        await spool.flush()
        await spool.replay()

        assert spool.healthy
        assert spool.empty
    assert await endings(redis_url) == ["ending"]


async def test_a_disk_that_fills_up_keeps_nothing_half(tmp_path: Path, redis_url: str) -> None:
    """The first try fails in the middle of a record; it is written again, to another file, and sent once."""
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        spool.put(*PUT_ON_LIST, ("first",))
        await spool.flush()
        fill_up(spool)
        spool.put(*PUT_ON_LIST, ("second",))

        await spool.flush()
        refused = spool.healthy
        await spool.flush()
        await spool.replay()

    assert not refused
    assert spool.healthy
    assert sorted(await endings(redis_url)) == ["first", "second"]


async def test_an_intent_counts_only_while_nobody_ended_its_request(tmp_path: Path, redis_url: str) -> None:
    """A dead process's intent is sent; an ending takes the place of its intent; a living process keeps its own."""
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        for event_id in ("ended", "under way"):
            spool.put_intent(*PUT_ON_LIST, (event_id,))
        spool.ended("ended")
        spool.put(*PUT_ON_LIST, ("ended",))
        await spool.flush()
        await spool.replay()
        sent_by_the_living = await endings(redis_url)

        for path in files_in(tmp_path):
            path.rename(path.with_name("of-the-dead.spool"))
        files = spool._full + ([spool._current] if spool._current else [])
        for file in files:
            file.close()
        await Spool(tmp_path, redis).replay()

    assert sent_by_the_living == ["ended"]
    assert await endings(redis_url) == ["ended", "under way"]


async def test_a_replay_that_redis_interrupts_is_continued(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with connected(redis_url) as redis:
        spool = Spool(tmp_path, redis)
        task = asyncio.create_task(spool.run())
        valkey_server.kill()
        await until_lost(redis)
        await asyncio.gather(*(spool.put(*PUT_ON_LIST, (str(number),)) for number in range(50)))
        valkey_server.start()

        async with asyncio.timeout(10):
            while not spool.empty:  # noqa: ASYNC110  The replay is another task's.
                await asyncio.sleep(0.02)
        task.cancel()

    assert await endings(redis_url) == [str(number) for number in range(50)]


async def until_lost(redis: RedisPipeline) -> None:
    async with asyncio.timeout(5):
        while redis.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
