"""`poindexter usage`: what the ledger says, as a table and as JSON."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from core.usage.token_usage import TokenUsage
from tests.deploy.command_line import CommandLine
from tests.metering.events import event
from tests.metering.workbench import workbench

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=1, microsecond=0)
FIRST = TODAY.replace(day=1)


@pytest.fixture
def line(database_url: str, redis_url: str) -> CommandLine:
    events = [
        event(1, 10, at=FIRST, cost=1_500_000_000, model="gpt-5", usage=TokenUsage(input=1_000, output=50)),
        event(1, 11, at=TODAY, cost=2_000_000, model="claude-4", usage=TokenUsage(input=7, output=1), estimated="cut"),
        event(1, 10, at=TODAY - timedelta(days=40), cost=9),
        event(2, 20, at=TODAY, cost=5),
    ]

    async def book() -> None:
        async with workbench(database_url, redis_url) as bench:
            for _ in range(3):
                await bench.create_account()
            await bench.settle_all(events)
            await bench.drain()

    asyncio.run(book())
    return CommandLine.of(database_url, redis_url)


def test_usage_of_this_month_is_shown_by_day_with_a_total(line: CommandLine) -> None:
    rows = line.ok("usage", "1").out.splitlines()

    assert rows[0].split()[:2] == ["DAY", "REQUESTS"]
    assert len(rows) == (4 if FIRST.date() != TODAY.date() else 2)
    assert rows[-1].split()[-1] == "$1.502"


@pytest.mark.parametrize(("by", "labels"), [("model", {"gpt-5", "claude-4"}), ("key", {"10", "11"})])
def test_usage_is_shown_by_model_and_by_key(line: CommandLine, by: str, labels: set[str]) -> None:
    lines = line.json("usage", "1", "--by", by)

    assert {str(one["label"]) for one in lines} == labels
    assert sum(one["cost"] for one in lines) == 1_502_000_000
    assert sum(one["estimated_requests"] for one in lines) == 1


def test_other_days_are_asked_for_by_their_date(line: CommandLine) -> None:
    since = (TODAY - timedelta(days=45)).date().isoformat()

    lines = line.json("usage", "1", "--since", since)

    assert sum(one["requests"] for one in lines) == 3
    assert line.json("usage", "1", "--since", since, "--until", since) == []


def test_an_account_sees_its_own_usage_only(line: CommandLine) -> None:
    assert sum(one["cost"] for one in line.json("usage", "2")) == 5
    assert line.json("usage", "3") == []
