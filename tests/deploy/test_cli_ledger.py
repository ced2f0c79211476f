"""`poindexter reconcile`, `counters` and `dead-letters`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.usage.usage_event import GATEWAY_LOST
from tests.deploy.command_line import PEPPER, CommandLine
from tests.metering.events import event, of_tomorrow
from tests.metering.events import served as call_of
from tests.metering.workbench import SHARDS, Workbench, workbench


class Ledger:
    """The command line, and what happens behind its back."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._urls = database_url, redis_url
        self.line = CommandLine(
            DATABASE_URL=database_url, REDIS_URL=redis_url, API_KEY_PEPPER=PEPPER, REDIS_SHARDS=str(SHARDS)
        )

    def happens(self, what: Callable[[Workbench], Awaitable[Any]]) -> Any:
        async def on_the_bench() -> Any:
            async with workbench(*self._urls) as bench:
                return await what(bench)

        return asyncio.run(on_the_bench())


async def park_one(bench: Workbench) -> None:
    await bench.put(event(1), e=of_tomorrow(event(1)))
    await bench.drain()


async def write_beyond_the_shards(bench: Workbench) -> None:
    await bench.redis.xadd("{s09}:usage", {"e": event(1).encode(), "c": 1000, "w": 0})


async def leave_an_old_event(bench: Workbench) -> None:
    one = event(1)
    await bench.redis.xadd(bench._keys(one).stream, {"e": one.encode(), "c": 1000, "w": 0}, id="1-1")


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    return Ledger(database_url, redis_url)


def test_a_ledger_that_adds_up_is_no_difference_and_status_0(ledger: Ledger) -> None:
    async def book(bench: Workbench) -> None:
        await bench.settle_all([event(1), event(2)])
        await bench.drain()

    ledger.happens(book)

    answer, report = ledger.line.ok("reconcile"), ledger.line.json("reconcile")

    assert answer.out.endswith("\nNo difference: the ledger adds up.\n")
    assert "what the upstreams served (no --served)" in answer.out
    assert (report["differences"], report["unfinished"], report["estimates"]) == ([], [], [])


def test_a_difference_is_explained_and_is_status_1(ledger: Ledger) -> None:
    async def book_and_tamper(bench: Workbench) -> None:
        await bench.settle(event(1))
        await bench.drain()
        await bench.pool.execute("UPDATE usage_daily SET requests = requests + 1")

    ledger.happens(book_and_tamper)
    answer, document = ledger.line.run("reconcile"), ledger.line.run("reconcile", "--json")

    assert (answer.status, document.status) == (1, 1)
    assert len(document.document["differences"]) >= 1
    assert {f"  {line}" for line in document.document["differences"]} <= set(answer.out.splitlines())
    assert "adds up" not in answer.out


def test_what_an_upstream_served_and_nobody_booked_is_a_difference(ledger: Ledger, tmp_path: Path) -> None:
    item = event(1)
    missing = str(item.event_id)
    served = tmp_path / "served.jsonl"
    served.write_text(json.dumps(call_of(item)) + "\n\n")

    answer = ledger.line.run("reconcile", "--served", str(served))

    assert answer.status == 1
    assert missing in answer.out
    assert "is not in the ledger" in answer.out


UNFINISHED: dict[str, tuple[Callable[[Workbench], Awaitable[Any]], str]] = {
    "a dead letter": (park_one, "1 dead letters wait, with $0.000001"),
    "a stream of a shard that is none": (write_beyond_the_shards, "{s09}:usage holds 1 events"),
    "a stream that nobody reads": (leave_an_old_event, "metering does not run, or is behind"),
}


@pytest.mark.parametrize(("happens", "text"), UNFINISHED.values(), ids=UNFINISHED)
def test_what_is_not_in_the_ledger_yet_is_said_and_is_status_3(
    ledger: Ledger, happens: Callable[[Workbench], Awaitable[Any]], text: str
) -> None:
    """S22: "No difference: the ledger adds up", with all of this waiting."""
    ledger.happens(happens)

    answer = ledger.line.run("reconcile")

    assert answer.status == 3
    assert text in answer.out
    assert "adds up" not in answer.out


def test_estimates_and_those_that_gave_way_are_shown(ledger: Ledger) -> None:
    """S22"""
    item = event(1, cost=600)

    async def book(bench: Workbench) -> None:
        await bench.settle_all([replace(item, estimated=GATEWAY_LOST, cost=7), event(2, estimated="client_gone"), item])
        await bench.drain(bench.consumer(batch_size=1))

    ledger.happens(book)
    answer = ledger.line.ok("reconcile")

    assert "1 events are estimated: client_gone" in answer.out
    assert f"event {item.event_id} of account 1: an estimate of 7 nano-dollars gave way" in answer.out
    assert "adds up" not in answer.out


def test_what_was_waived_because_its_estimate_stood_in_the_way_is_shown(ledger: Ledger) -> None:
    """P4: at the cap, an own ending that comes after the sweep is waived in part."""
    item = event(1, cost=600)

    async def book(bench: Workbench) -> None:
        await bench.settle(replace(item, estimated=GATEWAY_LOST, cost=7))
        await bench.drain()
        await bench.put(item, c=90, w=510)
        await bench.drain()

    ledger.happens(book)
    answer = ledger.line.ok("reconcile")

    assert "gave way to the gateway's own count, 90, and 510 waived at the cap" in answer.out


def test_an_event_that_no_upstream_served_is_a_difference(ledger: Ledger, tmp_path: Path) -> None:
    """S22, S15"""
    first, invented, last = sorted([event(1), event(1), event(1)], key=lambda item: item.event_id)
    served = tmp_path / "served.jsonl"
    served.write_text("".join(json.dumps(call_of(item)) + "\n" for item in (first, last)))

    async def book(bench: Workbench) -> None:
        await bench.settle_all([first, replace(invented, estimated="client_gone"), last])
        await bench.drain()

    ledger.happens(book)
    answer = ledger.line.run("reconcile", "--served", str(served))

    assert answer.status == 1
    assert f"event {invented.event_id}: no upstream has served it; charged 1000 nano-dollars by estimate" in answer.out


COUNTED = json.dumps(call_of(event(1))).encode()
NO_RECORD = {
    "no JSON": (b"served calls", "line 1 is no JSON: "),
    "an array": (b"[" + COUNTED + b"]", "line 1 is no JSON object"),
    "binary": (b"\x00\xff\xfe", "line 1 is no JSON: "),
    "too deep": (b"[" * 2_000, "line 1 is no JSON: "),
    "half a line": (COUNTED + b"\n\n" + COUNTED[:30], "line 3 is no JSON: "),
    "no outcome": (b'{"client_request_id": "x"}', "line 1 has no `outcome`"),
    "an outcome of another type": (b'{"outcome": ["cut"]}', "line 1 has no `outcome`"),
    "no counts": (b'{"outcome": "cut"}\n{"outcome": "complete"}', "line 2 has no whole number `input_tokens`"),
    "a count as text": (COUNTED.replace(b": 30", b': "30"'), "line 1 has no whole number `output_tokens`"),
}


@pytest.mark.parametrize(("content", "problem"), NO_RECORD.values(), ids=NO_RECORD)
def test_a_record_that_is_none_is_refused_with_the_line_that_is_wrong(
    ledger: Ledger, tmp_path: Path, content: bytes, problem: str
) -> None:
    """It ended in a traceback."""
    served = tmp_path / "served.jsonl"
    served.write_bytes(content)

    answer = ledger.line.run("reconcile", "--served", str(served))

    assert (answer.status, answer.out) == (2, "")
    assert f"Invalid value for --served {served}: {problem}" in answer.err


def test_wrong_counters_are_set_right_and_shown(ledger: Ledger) -> None:
    async def spoil(bench: Workbench) -> int:
        account, [key] = await bench.create_account()
        one = event(account, key)
        await bench.open_scopes(one)
        await bench.redis.hset(bench._keys(one).account, "reserved", "77")
        return account

    account = ledger.happens(spoil)
    set_right, again = ledger.line.ok("counters", "rebuild"), ledger.line.ok("counters", "rebuild", str(account))

    assert "reserved is 77, should be 0" in set_right.out
    assert again.out == "Every counter was right.\n"
    assert ledger.line.json("counters", "rebuild") == []


def test_a_dead_letter_is_listed_shown_and_replayed_once(ledger: Ledger) -> None:
    async def park(bench: Workbench) -> None:
        await bench.put(event(1), e=b"no event")
        await bench.drain()

    ledger.happens(park)
    listed, shown = ledger.line.json("dead-letters", "list"), ledger.line.ok("dead-letters", "show", "1").document
    replayed, again = ledger.line.ok("dead-letters", "replay", "1"), ledger.line.run("dead-letters", "replay", "1")

    assert [letter["dead_letter_id"] for letter in listed] == [1]
    assert shown["fields"]["e"] == "no event"
    assert replayed.out.startswith("Replayed 1.")
    assert (again.status, again.err) == (1, "There is no dead letter 1 that waits.\n")
    assert ledger.line.ok("dead-letters", "list").out.startswith("No dead letter")
    assert len(ledger.line.json("dead-letters", "list", "--ended")) == 1


def test_a_dead_letter_that_is_on_its_stream_waits_until_the_ledger_has_it(ledger: Ledger) -> None:
    """M7"""
    ledger.happens(park_one)
    replayed, again = ledger.line.ok("dead-letters", "replay", "1"), ledger.line.ok("dead-letters", "replay", "--all")
    listed, written_off = (
        ledger.line.ok("dead-letters", "list"),
        ledger.line.run("dead-letters", "write-off", "1", "--reason", "x"),
    )
    audit = ledger.line.run("reconcile")

    assert (replayed.out, again.out[:11]) == (
        "Replayed 1. They wait until the ledger has them; what still can't be read stays.\n",
        "Replayed 1.",
    )
    assert " on the stream since 20" in listed.out
    assert written_off.status == 1
    assert written_off.err.startswith("Dead letter 1 is on the stream since 20")
    assert (audit.status, "1 have been put back on their streams" in audit.out) == (3, True)


def test_many_dead_letters_are_replayed_or_written_off_in_one_call(ledger: Ledger) -> None:
    """S22"""

    async def park(bench: Workbench) -> None:
        for number in range(1, 4):
            await bench.put(event(number), e=of_tomorrow(event(number)))
        await bench.put(event(4), c="much")
        await bench.drain()

    ledger.happens(park)
    one_kind = ledger.line.ok("dead-letters", "replay", "--all", "--reason", "c or w")
    written_off = ledger.line.ok("dead-letters", "write-off", "--all", "--reason", "a test", "--by", "me")
    again = ledger.line.ok("dead-letters", "write-off", "--all", "--reason", "a test")

    assert one_kind.out.startswith("Replayed 1.")
    assert (written_off.out, again.out) == ("Written off: 3.\n", "Written off: 0.\n")
    ended = ledger.line.json("dead-letters", "list", "--ended")
    assert sorted(str(letter["written_off_by"]) for letter in ended) == ["None", "me", "me", "me"]


def test_a_replay_of_nothing_says_that_nothing_waits(ledger: Ledger) -> None:
    assert ledger.line.ok("dead-letters", "replay", "--all").out == "No dead letter waits.\n"
    assert "contains 'clock' waits" in ledger.line.ok("dead-letters", "replay", "--all", "--reason", "clock").out


def test_a_reason_of_several_lines_is_one_line_of_the_table(ledger: Ledger) -> None:
    """Postgres gives its reasons with a DETAIL of hundreds of characters; `show` has all of it."""

    async def park(bench: Workbench) -> None:
        await park_one(bench)
        await bench.pool.execute("UPDATE usage_dead_letters SET reason = E'refused: null value\\nDETAIL: the row'")

    ledger.happens(park)

    assert [line.split()[-2:] for line in ledger.line.ok("dead-letters", "list").out.splitlines()[1:]] == [
        ["null", "value"]
    ]
    assert "DETAIL: the row" in ledger.line.ok("dead-letters", "show", "1").out


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["1", "--reason", "x"]])
def test_a_replay_names_one_letter_or_all(ledger: Ledger, arguments: list[str]) -> None:
    assert ledger.line.run("dead-letters", "replay", *arguments).status == 2


def test_a_dead_letter_that_does_not_exist_is_said_so(ledger: Ledger) -> None:
    answer = ledger.line.run("dead-letters", "show", "9")

    assert (answer.status, answer.out) == (1, "")
    assert "There is no dead letter 9." in answer.err
