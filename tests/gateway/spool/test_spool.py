"""The spool on a real disk in front of a real Valkey: full disks, damaged files, files of the dead, two writers, and
records that nobody can read or take."""

import asyncio
import os
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.principal import AccountId, Principal
from core.redis.keys import ShardKeys
from core.usage.usage_event import Outcome
from deploy.local.servers.valkey import ValkeyServer
from gateway.errors import Unavailable
from gateway.spool import backlog as spool_backlog
from gateway.spool import spool as spool_module
from gateway.spool.file import adopt_files, create_file
from gateway.spool.recent_settlements import RecentSettlements
from gateway.spool.record import Record
from gateway.spool.spool import Spool, SpoolFailed, SpoolUnusable
from gateway.store.redis_pipeline import RedisPipeline
from tests.gateway.settlements import (
    ACCOUNT,
    SHARDS,
    event,
    events,
    intent,
    keys_of,
    settlement,
    settlement_names,
    void,
)
from tests.gateway.spool.spooling import (
    UnknownToPostgres,
    connected,
    let_go,
    pipeline,
    replay_all,
    running,
    spool_in,
)
from tests.harness.servers import valkey
from tests.harness.waiting import until


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def fill_up(spool: Spool) -> None:
    """From now on the disk has no room for the file that the spool writes to."""
    assert spool._current is not None
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, spool._current.handle.fileno())
    os.close(full)


def write(directory: Path, *records: Record) -> Path:
    """A file as a process that has died leaves it."""
    file = create_file(directory)
    file.append(b"".join(record.encode() for record in records))
    file.close()
    return file.path


def line_of(stored: object) -> bytes:
    """Any content under a checksum that fits."""
    return line_of_text(orjson.dumps(stored))


def line_of_text(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


async def test_endings_are_on_the_disk_when_their_futures_end(tmp_path: Path, redis_url: str) -> None:
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        futures = [spool.put(settlement(f"event-{number}")) for number in range(100)]

        await spool.flush()

        [file] = files_in(tmp_path)
        assert all(future.done() for future in futures)
        assert file.read_bytes().count(b"\n") == 100
        assert not spool.empty
        await spool.finish(seconds=5)


async def test_endings_are_replayed_in_order_and_their_file_goes(tmp_path: Path, redis_url: str) -> None:
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        for number in range(1200):
            spool.put(settlement(str(number)))

        await spool.finish(seconds=10)

        assert spool.empty
    assert await settlement_names(redis_url) == [str(number) for number in range(1200)]
    assert files_in(tmp_path) == []


async def test_two_flushes_at_once_write_everything_once(tmp_path: Path, redis_url: str) -> None:
    """The process flushes at its end, while its writer may be in the middle of the same."""
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        first = [spool.put(settlement(str(number))) for number in range(50)]
        flushes = [asyncio.create_task(spool.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        second = [spool.put(settlement(str(number))) for number in range(50, 100)]

        await asyncio.gather(*flushes)
        await spool.flush()
        await asyncio.gather(*first, *second)
        await asyncio.gather(spool.replay(), spool.replay())
        await spool.finish(seconds=5)

    assert await settlement_names(redis_url) == [str(number) for number in range(100)]


async def test_many_records_are_encoded_and_written_beside_the_loop(tmp_path: Path, redis_url: str) -> None:
    """B19: while ten thousand records go to the disk, the loop keeps turning."""
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        spool.put_all([settlement(str(number)) for number in range(10_000)])
        flushing = asyncio.create_task(spool.flush())
        turns = 0
        while not flushing.done():
            turns += 1
            await asyncio.sleep(0.001)

        assert turns > 10
        assert files_in(tmp_path)[0].read_bytes().count(b"\n") == 10_000
        await spool.finish(seconds=20)


async def test_files_of_the_dead_are_adopted_and_those_of_the_living_are_not(tmp_path: Path, redis_url: str) -> None:
    write(tmp_path, settlement("dead-1"), settlement("dead-2"))
    living = create_file(tmp_path)
    living.append(settlement("living").encode())

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    assert await settlement_names(redis_url) == ["dead-1", "dead-2"]
    assert files_in(tmp_path) == [living.path]
    living.remove()


async def test_a_file_is_adopted_by_one_of_several(tmp_path: Path) -> None:
    write(tmp_path, settlement("one"))

    (first, _), (second, _) = adopt_files(tmp_path), adopt_files(tmp_path)

    assert (len(first), len(second)) == (1, 0)
    first[0].remove()


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda text: text[:-9], ["a", "b"]),  # Power loss in the middle of the last record.
        (lambda text: text.replace(b'id\\":\\"b', b'id\\":\\"x'), ["a", "c"]),
        (lambda text: b"\x00" * 40 + b"\n" + text, ["a", "b", "c"]),
        (lambda text: b"", []),
        (lambda text: text + b"\n\n", ["a", "b", "c"]),
        (lambda text: os.urandom(300).replace(b"\n", b" ") + b"\n" + text, ["a", "b", "c"]),
    ],
    ids=["half a record", "a changed letter", "zeros", "empty", "blank lines", "noise"],
)
async def test_a_damaged_record_costs_no_other(tmp_path: Path, redis_url: str, damage: object, left: list[str]) -> None:
    path = write(tmp_path, settlement("a"), settlement("b"), settlement("c"))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    assert await settlement_names(redis_url) == left
    assert files_in(tmp_path) == []


UNKNOWN = {
    "another version": {"v": 2, "kind": "settlement", "intent": False, "event": "{}"},
    "another kind": {"v": 1, "kind": "merger", "intent": False, "event": event("x").encode().decode()},
    "no event": {"v": 1, "kind": "settlement", "intent": False, "event": "{}"},
    "an event of tomorrow": {"v": 1, "kind": "settlement", "intent": False, "event": '{"v":99}'},
    "a script of yesterday": ["sell", ["a", "b"], ["id"], False],
    "a call cut short": ["settle", [], [], False],
    "a number": 7,
    "nothing": None,
    "an empty list": [],
    "a list of lists": [[], [], [], []],
}


@pytest.mark.parametrize("stored", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_record_that_nobody_can_read_is_put_aside_and_the_rest_goes_on(
    tmp_path: Path, redis_url: str, stored: object
) -> None:
    """B3: it used to end the process, and the next one, for ever."""
    file = create_file(tmp_path)
    file.append(settlement("before").encode() + line_of(stored) + settlement("after").encode())
    file.close()
    write(tmp_path, settlement("another file"))

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    aside, reasons = aside_in(tmp_path)
    assert await settlement_names(redis_url) == ["before", "after", "another file"]
    assert files_in(tmp_path) == []
    assert aside == [line_of(stored)]
    assert reasons[0]["reason"]


async def test_text_that_is_no_json_is_put_aside(tmp_path: Path, redis_url: str) -> None:
    """B3"""
    file = create_file(tmp_path)
    file.append(line_of_text(b"not { json") + settlement("after").encode())
    file.close()

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    assert await settlement_names(redis_url) == ["after"]
    assert aside_in(tmp_path)[0] == [line_of_text(b"not { json")]


async def test_a_record_that_redis_refuses_for_good_is_put_aside_and_can_be_tried_again(
    tmp_path: Path, redis_url: str
) -> None:
    """B3: its account is a text where a hash should be. Mended and moved back, the record is taken."""
    poisoned = AccountId(ACCOUNT + SHARDS)
    scope = ShardKeys.of(poisoned, SHARDS).account(poisoned)
    write(tmp_path, settlement("a"), settlement("poisoned", account=poisoned), settlement("b"))
    async with connected(redis_url) as redis, valkey(redis_url) as client:
        await client.set(scope, "no hash")
        await replay_all(tmp_path, redis)
        first = await settlement_names(redis_url)
        _, reasons = aside_in(tmp_path)

        await client.delete(scope)
        for path in (tmp_path / "rejected").glob("*.spool"):
            path.rename(tmp_path / path.name)
        await replay_all(tmp_path, redis)
        pending = await client.hget(scope, f"pending:{event('x').period}")

    assert first == ["a", "b"]
    assert reasons[0]["reason"].startswith("WRONGTYPE")
    assert pending == b"15"
    assert files_in(tmp_path) == []


async def test_records_put_aside_wait_for_a_disk_that_takes_them_and_nothing_is_sent_twice(
    tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "rejected").write_text("a file where the directory should be")
    path = write(tmp_path, settlement("a"))
    with path.open("ab") as file:
        file.write(line_of(UNKNOWN["another kind"]))

    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        for _ in range(3):
            await spool.finish(seconds=5)
        kept = path.exists()
        (tmp_path / "rejected").unlink()
        await spool.finish(seconds=5)

    assert kept
    assert await settlement_names(redis_url) == ["a"]
    assert aside_in(tmp_path)[0] == [line_of(UNKNOWN["another kind"])]


def aside_in(directory: Path) -> tuple[list[bytes], list[dict[str, str]]]:
    """The lines that were put aside, and the reasons beside them."""
    [path] = (directory / "rejected").glob("*.spool")
    reasons = [orjson.loads(line) for line in path.with_suffix(".reasons").read_bytes().splitlines()]
    return path.read_bytes().splitlines(keepends=True), reasons


@pytest.mark.parametrize(
    "files",
    [
        [[intent("e")], [settlement("e")]],
        [[settlement("e")], [intent("e")]],
        [[intent("e"), settlement("e")]],
        [[settlement("e"), intent("e")]],
        [[intent("e")], [intent("e")], [settlement("e")], [intent("e")]],
    ],
    ids=["next file", "file before", "same file", "same file, before", "among several"],
)
async def test_an_ending_counts_for_more_than_intents_wherever_it_stands(
    tmp_path: Path, redis_url: str, files: list[list[Record]]
) -> None:
    """B4: a disk that refused one file leaves the intents of a dead process in the first and its endings in the
    next."""
    for number, records in enumerate(files):
        write(tmp_path, *records, settlement(f"other-{number}"))

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    sent = {one.upstream_request_id: one.estimated for one in await events(redis_url)}
    assert sent == {"e": "", **{f"other-{number}": "" for number in range(len(files))}}
    assert len(await events(redis_url)) == len(sent)


async def test_the_calls_that_the_first_form_of_the_spool_kept_are_still_understood(
    tmp_path: Path, redis_url: str
) -> None:
    """B3: files of the version before, with names of that version: endings, an intent, releases."""
    (tmp_path / "4711-0123456789ab.spool").write_bytes(
        line_of(first_form_settle("settled"))
        + line_of(first_form_settle("lost", intent=True))
        + line_of(first_form_settle("ended", intent=True))
        + line_of(first_form_settle("ended"))
        + line_of(first_form_release("given back"))
        + line_of(first_form_release("gone"))
    )
    async with connected(redis_url) as redis:
        await reserve(redis, "given back")
        await replay_all(tmp_path, redis)

    found = {one.event_id: (one.outcome, one.estimated, one.cost) for one in await events(redis_url)}
    assert found == {
        event("settled").event_id: (Outcome.COMPLETE, "", 15),
        event("lost").event_id: (Outcome.COMPLETE, "gateway_lost", 15),
        event("ended").event_id: (Outcome.COMPLETE, "", 15),
        event("given back").event_id: (Outcome.RELEASED, "", 0),
        event("gone").event_id: (Outcome.RELEASED, "", 0),
    }
    gone = next(one for one in await events(redis_url) if one.event_id == event("gone").event_id)
    assert (gone.day, gone.period) == (event("gone").day, event("gone").period)
    assert files_in(tmp_path) == []
    async with valkey(redis_url) as client:
        assert await client.exists(keys_of("given back").reservation) == 0


def first_form_settle(name: str, *, intent: bool = False) -> object:
    wire = event(name, estimated="gateway_lost" if intent else "")
    keys = keys_of(name)
    names = [keys.account, keys.key, keys.reservation, keys.leases, keys.stream]
    arguments = [str(wire.event_id), str(wire.period), wire.cost, wire.usage.total, wire.encode().decode(), "0"]
    return ["settle", names, arguments, intent]


def first_form_release(name: str) -> object:
    keys = keys_of(name)
    return ["release", [keys.account, keys.key, keys.reservation, keys.leases], [keys.event_id, "0"], False]


async def reserve(redis: RedisPipeline, name: str) -> None:
    keys = keys_of(name)
    await redis.command("HSET", keys.reservation, "cost", 1, "tokens", 1, "minute", 0)
    await redis.command("ZADD", keys.leases, 1, keys.event_id)


@pytest.mark.parametrize("kind", ["settlement", "release"])
async def test_what_was_released_ends_its_reservation_and_takes_the_place_of_every_estimate(
    tmp_path: Path, redis_url: str, kind: str
) -> None:
    """A reservation that is there proves nothing: Redis may have come back with it after its estimate was recorded. It
    used to be released without a word to the ledger, which kept the estimate. `release` is the form before."""
    file = create_file(tmp_path)
    for name in ("held", "gone"):
        file.append(line_of({"v": 1, "kind": kind, "intent": False, "event": void(name).event.encode().decode()}))
    file.close()
    async with connected(redis_url) as redis:
        await reserve(redis, "held")
        await replay_all(tmp_path, redis)

    found = {one.event_id: (one.outcome, one.cost, one.usage.total) for one in await events(redis_url)}
    assert found == {event(name).event_id: (Outcome.RELEASED, 0, 0) for name in ("held", "gone")}
    async with valkey(redis_url) as client:
        assert await client.exists(keys_of("held").reservation) == 0


async def test_when_the_disk_refuses_endings_wait_in_memory_and_intents_are_refused(
    tmp_path: Path, redis_url: str
) -> None:
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with pipeline("redis://127.0.0.1:1") as away:
        spool = spool_in(directory, away)
        ending = spool.put(settlement("ending"))
        intended = spool.put_intent(event("intent"))

        await spool.flush()

        assert ending.done()
        assert isinstance(intended.exception(), SpoolFailed)
        assert not spool.healthy

        spool.ended(str(event("intent").event_id))
        directory.unlink()
        await spool.flush()

        assert spool.healthy
        assert not spool.empty
        assert files_in(directory)[0].read_bytes() == settlement("ending").encode()
        let_go(spool)


@pytest.mark.parametrize("way", ["while it runs", "at its end"])
async def test_while_the_disk_refuses_what_waits_is_sent_from_memory(tmp_path: Path, redis_url: str, way: str) -> None:
    """S5c: Redis was away for a moment while the disk refused; the endings used to stay in memory for ever, and the end
    of the process dropped them."""
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with connected(redis_url) as redis:
        spool = spool_in(directory, redis)
        for number in range(700):
            spool.put(settlement(str(number)))

        if way == "while it runs":
            async with running(spool):
                await until(lambda: spool.empty)
        else:
            await spool.finish(seconds=5)

        assert spool.empty
        assert not spool.healthy
    assert await settlement_names(redis_url) == [str(number) for number in range(700)]


async def test_a_disk_that_has_recovered_is_noticed_without_anything_to_write(tmp_path: Path, redis_url: str) -> None:
    """S5c: otherwise the next outage would refuse everything on account of the last one."""
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with connected(redis_url) as redis:
        spool = spool_in(directory, redis)
        spool.put(settlement("one"))
        async with running(spool):
            await until(lambda: spool.empty and not spool.healthy)
            directory.unlink()
            await until(lambda: spool.healthy)

    assert await settlement_names(redis_url) == ["one"]


async def test_a_disk_that_fails_is_noticed_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S17: it is tried now and then, and at the start a full one is no reason not to serve."""
    monkeypatch.setattr(spool_module, "TRY_SECONDS", 0.0)
    async with pipeline("redis://127.0.0.1:1") as away:
        spool = spool_in(tmp_path / "spool", away)
        await spool.open()
        async with running(spool):
            (tmp_path / "spool").rmdir()
            (tmp_path / "spool").write_text("a file where the directory should be")

            await until(lambda: not spool.healthy)


@pytest.mark.parametrize("trouble", ["a file", "no rights to make it", "below a file"])
async def test_a_directory_that_can_never_be_written_is_refused_at_the_start(tmp_path: Path, trouble: str) -> None:
    """S17: it used to be tried at the first outage of Redis, when it costs answers."""
    (tmp_path / "file").write_text("")
    directory = {
        "a file": tmp_path / "file",
        "no rights to make it": Path("/proc/poindexter"),
        "below a file": tmp_path / "file" / "spool",
    }[trouble]
    async with pipeline("redis://127.0.0.1:1") as away:
        with pytest.raises(SpoolUnusable) as refused:
            await spool_in(directory, away).open()

    assert "\n" not in str(refused.value)
    assert str(directory) in str(refused.value)


async def test_a_directory_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    """S17"""
    async with pipeline("redis://127.0.0.1:1") as away:
        spool = spool_in(tmp_path / "new", away)
        await spool.open()

    assert spool.healthy
    assert list((tmp_path / "new").iterdir()) == []


async def test_the_intent_of_a_request_under_way_is_tried_until_the_disk_takes_it(tmp_path: Path) -> None:
    """Refused once and never tried again, it was missing when its process died after the disk was mended."""
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with pipeline("redis://127.0.0.1:1") as away:
        spool = spool_in(directory, away)
        for name in ("under way", "ended", "under way"):
            spool.put_intent(event(name, estimated="gateway_lost"))
        await spool.flush()
        spool.ended(str(event("ended").event_id))
        await spool.flush()
        directory.unlink()
        await spool.flush()

        assert files_in(directory)[0].read_bytes() == intent("under way").encode()
        let_go(spool)


async def test_an_intent_among_endings_that_are_sent_from_memory_waits_for_the_disk(
    tmp_path: Path, redis_url: str
) -> None:
    """It used to be dropped in place of an ending, and its request waited for ever."""
    directory = tmp_path / "spool"
    directory.write_text("a file where the directory should be")
    async with connected(redis_url) as redis:
        spool = spool_in(directory, redis)
        spool.put(settlement("first"))
        await spool.flush()
        intended = spool.put_intent(event("intent"))
        spool.put(settlement("second"))

        await spool.replay()
        sent, written = await settlement_names(redis_url), intended.done()
        directory.unlink()
        await spool.flush()

        assert (sent, written) == (["first", "second"], False)
        assert intended.result() is None
        assert spool.intended(str(event("intent").event_id))
        let_go(spool)


async def test_a_disk_that_fills_up_keeps_nothing_half(tmp_path: Path, redis_url: str) -> None:
    """The first try fails in the middle of a record; it is written again, to another file, and sent once."""
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        spool.put(settlement("first"))
        await spool.flush()
        fill_up(spool)
        spool.put(settlement("second"))

        await spool.flush()
        refused = spool.healthy
        await spool.flush()
        healthy = spool.healthy
        await spool.finish(seconds=5)

    assert not refused
    assert healthy
    assert sorted(await settlement_names(redis_url)) == ["first", "second"]


async def test_an_intent_counts_only_while_nobody_ended_its_request(tmp_path: Path, redis_url: str) -> None:
    """A dead process's intent is sent; an ending takes the place of its intent; a living process keeps its own."""
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        for name in ("ended", "acknowledged", "under way"):
            spool.put_intent(event(name, estimated="gateway_lost"))
        spool.put(settlement("ended"))
        spool.ended(str(event("acknowledged").event_id))
        await spool.finish(seconds=5)
        sent_by_the_living = await settlement_names(redis_url)
        kept = [path.read_bytes().count(b"\n") for path in files_in(tmp_path)]

        for path in files_in(tmp_path):
            path.rename(path.with_name("of-the-dead.spool"))
        let_go(spool)
        await replay_all(tmp_path, redis)

    assert sent_by_the_living == ["ended"]
    assert kept == [1]
    assert await settlement_names(redis_url) == ["ended", "under way"]


async def test_a_replay_that_redis_interrupts_is_continued(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer
) -> None:
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        async with running(spool):
            valkey_server.kill()
            await until(lambda: not redis.connected)
            await asyncio.gather(*(spool.put(settlement(str(number))) for number in range(50)))
            valkey_server.start()
            await until(lambda: spool.empty)

    assert await settlement_names(redis_url) == [str(number) for number in range(50)]


async def test_a_redis_that_refuses_writes_for_a_while_gets_everything_afterwards(
    tmp_path: Path, redis_url: str
) -> None:
    """Nothing is put aside, and no files pile up."""
    async with connected(redis_url) as redis, valkey(redis_url) as client:
        spool = spool_in(tmp_path, redis)
        await client.config_set("maxmemory", 1)
        for number in range(5):
            spool.put(settlement(str(number)))
            await spool.flush()
            await spool.replay()
        files = len(files_in(tmp_path))
        await client.config_set("maxmemory", 0)
        async with running(spool):
            await until(lambda: spool.empty)

    assert files <= 2
    assert await settlement_names(redis_url) == [str(number) for number in range(5)]
    assert not (tmp_path / "rejected").exists()


@pytest.mark.parametrize("refused", ["evalsha", "xadd", "zrem"])
async def test_a_redis_whose_rules_refuse_a_command_gets_everything_when_they_are_mended(
    refused: str, tmp_path: Path, redis_url: str
) -> None:
    """B3: also one that only the scripts use, for which Redis has no error of its own. Nothing is put aside."""
    place = redis_url.rpartition("@")[2]
    rules = "ACL", "SETUSER", "restricted", "on", ">secret", "~*", "+@all"
    async with valkey(redis_url) as connection:
        client: Any = connection  # Its stub knows no `execute_command`.
        await client.execute_command(*rules)
        try:
            async with connected(f"redis://restricted:secret@{place}") as redis:
                spool = spool_in(tmp_path, redis)
                await client.execute_command(*rules, f"-{refused}")
                spool.put(settlement("a"))
                await spool.flush()
                await spool.replay()
                waiting = not spool.empty
                await client.execute_command(*rules)
                async with running(spool):
                    await until(lambda: spool.empty)
        finally:
            await client.execute_command("ACL", "DELUSER", "restricted")

    assert waiting
    assert set(await settlement_names(redis_url)) == {"a"}
    assert not (tmp_path / "rejected").exists()


async def test_what_was_replayed_is_sent_again_to_another_life_of_redis(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S4: Redis took it and was killed before its disk did. The file stays until that cannot happen any more."""
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        spool.put(settlement("one"))
        async with running(spool):
            await until(lambda: spool.empty)
            kept = len(files_in(tmp_path))
            async with valkey(redis_url) as client:
                await client.flushall()
            valkey_server.kill()
            await until(lambda: not redis.connected)
            valkey_server.start()
            await until(lambda: redis.connected)
            monkeypatch.setattr(spool_backlog, "KEEP_SECONDS", 0.5)
            await until(lambda: not files_in(tmp_path))

    assert kept == 1
    assert await settlement_names(redis_url) == ["one"]


async def test_a_redis_that_falls_silent_after_it_took_a_file_may_have_lost_it(
    tmp_path: Path, redis_url: str, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answered, was frozen before its disk had what it took, and killed: seconds that it slept prove nothing."""
    monkeypatch.setattr(spool_backlog, "KEEP_SECONDS", 0.5)
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        spool.put(settlement("one"))
        async with running(spool):
            await until(lambda: spool.empty)
            async with valkey(redis_url) as client:
                await client.flushall()
            valkey_server.pause()
            await until(lambda: not redis.connected)
            kept = len(files_in(tmp_path))
            valkey_server.kill()
            valkey_server.start()
            await until(lambda: not files_in(tmp_path))

    assert kept == 1
    assert await settlement_names(redis_url) == ["one"]


async def test_what_redis_has_taken_is_not_sent_again_while_the_rest_has_to_wait(
    tmp_path: Path, redis_url: str
) -> None:
    """Postgres can't say what an account has spent since Redis was restarted: for an hour, say. Every second all that
    the others had used went on the stream once more."""
    cold = AccountId(10)
    assert keys_of("a").stream == ShardKeys.of(cold, SHARDS).usage_stream
    write(tmp_path, settlement("a"), settlement("cold", account=cold), settlement("b"))
    async with connected(redis_url) as redis:
        scopes = PostgresAwayFor(redis, cold)
        spool = Spool(tmp_path, redis, RecentSettlements(redis), scopes, shard_count=SHARDS)
        for number in range(3):
            await spool.replay()
            write(tmp_path, settlement(f"later-{number}"))
        waiting = await settlement_names(redis_url)
        scopes.away_for = None
        await spool.replay()
        await spool.finish(seconds=5)

    assert waiting == ["a", "b", "later-0", "later-1"]
    assert sorted(await settlement_names(redis_url)) == ["a", "b", "cold", "later-0", "later-1", "later-2"]
    assert files_in(tmp_path) == []


class PostgresAwayFor(UnknownToPostgres):
    def __init__(self, redis: RedisPipeline, account: AccountId) -> None:
        super().__init__(redis)
        self.away_for: AccountId | None = account

    async def publish(self, principal: Principal) -> bool:
        if principal.account_id == self.away_for:
            raise Unavailable("Postgres does not answer.")
        return await super().publish(principal)


async def test_an_unreadable_file_stops_no_other(tmp_path: Path, redis_url: str) -> None:
    """The file of another user, or a directory that is called like one."""
    (tmp_path / "00000000000000000001-1-0123456789ab.spool").mkdir()
    write(tmp_path, settlement("one"))

    async with connected(redis_url) as redis:
        await replay_all(tmp_path, redis)

    assert await settlement_names(redis_url) == ["one"]


async def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(tmp_path: Path, redis_url: str) -> None:
    """Out of file descriptors, a network disk that was gone: nothing else may happen that would make it look again."""
    file = create_file(tmp_path)
    file.append(settlement("one").encode())
    away = file.path.with_suffix(".away")
    async with connected(redis_url) as redis:
        spool = spool_in(tmp_path, redis)
        spool._backlog.add(file)
        file.path.rename(away)
        await spool.replay()
        unsent = await settlement_names(redis_url)
        away.rename(file.path)
        await spool.replay()
        let_go(spool)

    assert unsent == []
    assert await settlement_names(redis_url) == ["one"]


async def test_recent_settlements_are_those_of_the_last_seconds_before_the_last_answer(redis_url: str) -> None:
    """S4: relative to the last answer, however long ago that was."""
    async with connected(redis_url) as redis:
        recent = RecentSettlements(redis)
        await redis.command("PING")
        recent.add(settlement("old"))
        connection = redis._connection
        assert connection is not None
        connection.answered_at += 3.5
        recent.add(settlement("new"))
        recent.add(settlement("newest"))

        taken = [record.event.upstream_request_id for record in recent.take()]

        assert taken == ["new", "newest"]
        assert recent.take() == []
