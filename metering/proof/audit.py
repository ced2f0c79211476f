"""
Everything that speaks for or against the ledger, in one report: what differs, what is not in the ledger yet, what is
estimated, and what was compared at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import asyncpg
from redis.asyncio import Redis

from core.usage.money import format_usd
from metering.ingest.dead_letters import DeadLetters
from metering.proof.backlog import Backlog
from metering.proof.reconciliation import Reconciliation
from metering.repair.counters import Counters

__all__ = ["Audit", "Report"]

PATIENCE_SECONDS = 60.0
MAX_LISTED = 20


@dataclass(slots=True)
class Report:
    differences: list[str] = field(default_factory=list)
    """Contradictions: each is an error of ours, or somebody has changed the data."""
    unfinished: list[str] = field(default_factory=list)
    """Usage that is not in the ledger yet."""
    estimates: list[str] = field(default_factory=list)
    """What is in the ledger by our count, or was until the real count came."""
    compared: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.differences or self.unfinished or self.estimates)


class Audit:
    def __init__(self, pool: asyncpg.Pool, redis: Redis, counters: Counters, *, shard_count: int) -> None:
        self._reconciliation = Reconciliation(pool)
        self._counters = counters
        self._dead_letters = DeadLetters(pool, redis)
        self._backlog = Backlog(redis, shard_count=shard_count, patience_seconds=PATIENCE_SECONDS)

    async def report(self, since: date, served: Sequence[Mapping[str, Any]] | None) -> Report:
        """`served` is the record of all upstreams, None without one."""
        report = Report()
        await self._compare(report, since)
        if served is None:
            report.not_compared.append("what the upstreams served (no --served)")
        else:
            await self._compare_upstreams(report, since, served)
        await self._look_at_what_waits(report)
        await self._look_at_estimates(report, since)
        return report

    async def _compare(self, report: Report, since: date) -> None:
        report.compared += [
            f"the events since {since} with their sums by day and by period",
            "what dead letters have charged with what counts against the caps",
            "the counters in Redis with the ledger, the streams and the live reservations",
        ]
        report.not_compared.append(f"events before {since}")
        report.differences += map(str, await self._reconciliation.aggregate_differences(since))
        report.differences += [f"I7 {difference}" for difference in await self._counters.check()]

    async def _compare_upstreams(self, report: Report, since: date, served: Sequence[Mapping[str, Any]]) -> None:
        report.compared.append(
            f"{len(served):,} calls that the upstreams served with the events, and the events of that time with these"
        )
        report.differences += map(str, await self._reconciliation.upstream_differences(served))
        report.differences += map(str, await self._reconciliation.events_without_upstream(served, since))

    async def _look_at_what_waits(self, report: Report) -> None:
        waiting = await self._dead_letters.waiting()
        if waiting.letters:
            amount = f"{waiting.letters:,} dead letters wait, with {format_usd(waiting.charged)}"
            nameless = f"; {waiting.nameless:,} name no account" if waiting.nameless else ""
            on_stream = f"; {waiting.on_stream:,} have been put back on their streams" if waiting.on_stream else ""
            report.unfinished.append(f"{amount}{nameless}{on_stream}: `poindexter dead-letters list`")
        report.unfinished += map(str, await self._backlog.late())

    async def _look_at_estimates(self, report: Report, since: date) -> None:
        for reason, events in (await self._reconciliation.estimates(since)).items():
            report.estimates.append(f"{events:,} events are estimated: {reason}")
        replaced = await self._reconciliation.replaced(since)
        for item in replaced[:MAX_LISTED]:
            report.estimates.append(str(item))
        if len(replaced) > MAX_LISTED:
            report.estimates.append(f"… {len(replaced):,} replaced estimates in all, in the table usage_replaced")
