from datetime import timedelta

from core.principal import AccountId
from core.usage.usage_event import GATEWAY_LOST
from metering.ledger.usage_report import UsageReport
from tests.metering.events import NOW, event, void_of
from tests.metering.workbench import workbench

TODAY = NOW.date()


async def test_the_usage_of_an_account_by_day_model_and_key(database_url: str, redis_url: str) -> None:
    yesterday = NOW - timedelta(days=1)
    events = [
        event(1, 10, cost=5),
        event(1, 11, cost=7, model="claude-4", estimated="client_gone"),
        event(1, 10, cost=9, at=yesterday),
        event(2, 20, cost=100),
    ]
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all(events)
        await bench.drain()
        report = UsageReport(bench.pool)
        asked = AccountId(1), TODAY - timedelta(days=1), TODAY

        by_day, by_model, by_key = (
            await report.by_day(*asked),
            await report.by_model(*asked),
            await report.by_key(*asked),
        )

    assert [(line.label, line.requests, line.charged) for line in by_day] == [
        (str(TODAY - timedelta(days=1)), 1, 9),
        (str(TODAY), 2, 12),
    ]
    assert [(line.label, line.cost, line.estimated_requests) for line in by_model] == [
        ("claude-4", 7, 1),
        ("gpt-5", 14, 0),
    ]
    assert [(line.label, line.output_tokens) for line in by_key] == [("10", 60), ("11", 30)]


async def test_what_was_given_back_is_no_request(database_url: str, redis_url: str) -> None:
    """P3: the event that replaces the sweeper's estimate of a released request was counted as one."""
    estimate = event(1, 10, cost=7, model="claude-4", estimated=GATEWAY_LOST)
    async with workbench(database_url, redis_url) as bench:
        await bench.settle_all([event(1, 10, cost=5), void_of(event(1, 10)), estimate, void_of(estimate)])
        await bench.drain(bench.consumer(batch_size=1))
        report = UsageReport(bench.pool)
        asked = AccountId(1), TODAY, TODAY

        by_day, by_model = await report.by_day(*asked), await report.by_model(*asked)
        differences = await bench.reconciliation.aggregate_differences(TODAY.replace(day=1))

    assert [(line.label, line.requests, line.cost) for line in by_day] == [(str(TODAY), 1, 5)]
    assert [(line.label, line.requests, line.estimated_requests) for line in by_model] == [("gpt-5", 1, 0)]
    assert differences == []


async def test_days_outside_the_range_do_not_count(database_url: str, redis_url: str) -> None:
    async with workbench(database_url, redis_url) as bench:
        await bench.settle(event())
        await bench.drain()

        lines = await UsageReport(bench.pool).by_day(AccountId(1), TODAY - timedelta(days=9), TODAY - timedelta(days=1))

    assert lines == []
