"""`poindexter reconcile`, `counters` and `dead-letters`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.command_line import PEPPER, CommandLine
from tests.metering.events import event
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


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    return Ledger(database_url, redis_url)


def test_a_ledger_that_adds_up_is_no_difference_and_status_0(ledger: Ledger) -> None:
    async def book(bench: Workbench) -> None:
        await bench.settle_all([event(1), event(2)])
        await bench.drain()

    ledger.happens(book)

    assert ledger.line.ok("reconcile").out == "No difference: the ledger adds up.\n"
    assert ledger.line.json("reconcile") == []


def test_a_difference_is_explained_and_is_status_1(ledger: Ledger) -> None:
    async def book_and_tamper(bench: Workbench) -> None:
        await bench.settle(event(1))
        await bench.drain()
        await bench.pool.execute("UPDATE usage_daily SET requests = requests + 1")

    ledger.happens(book_and_tamper)
    answer, document = ledger.line.run("reconcile"), ledger.line.run("reconcile", "--json")

    assert (answer.status, document.status) == (1, 1)
    assert answer.out.splitlines() == document.document
    assert len(document.document) >= 1


def test_what_an_upstream_served_and_nobody_booked_is_a_difference(ledger: Ledger, tmp_path: Path) -> None:
    missing = str(event(1).event_id)
    served = tmp_path / "served.jsonl"
    served.write_text(
        json.dumps({"client_request_id": missing, "outcome": "complete", "upstream_request_id": "chatcmpl-1"}) + "\n"
    )

    answer = ledger.line.run("reconcile", "--served", str(served))

    assert answer.status == 1
    assert missing in answer.out
    assert "is not in the ledger" in answer.out


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


def test_a_dead_letter_that_does_not_exist_is_said_so(ledger: Ledger) -> None:
    answer = ledger.line.run("dead-letters", "show", "9")

    assert (answer.status, answer.out) == (1, "")
    assert "There is no dead letter 9." in answer.err
