"""
Does what the upstreams served equal the ledger, and the ledger its own sums?

* I1, I2  `upstream_differences`: every answered request has exactly one event, with the upstream's own token counts.
* I3      `aggregate_differences`: events = days = periods, per account, key, model and token class.
* I7      `metering.repair.counters`: the counters in Redis.

An empty list is the proof; each difference explains itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg

from core.usage.usage_event import Outcome
from metering.ledger.aggregates import COUNTS, MEASURES, SUMMED, WHOLE_ACCOUNT
from metering.proof.served import COMPLETE, TOKEN_COLUMNS, Served

__all__ = ["Difference", "Reconciliation", "Replaced"]

BROKEN_OFF = frozenset({"client_gone", "cut"})
"""A call with another outcome (an error under status 200) owes nothing."""
EVENTS_PER_QUERY = 5_000

SUMS = COUNTS + "".join(f", sum({name})::bigint AS {name}" for name in SUMMED)
COMPARED = ", ".join(f"'{name}', coalesce(ours.{name}, 0) - coalesce(sums.{name}, 0)" for name in MEASURES)
UNEQUAL = " OR ".join(f"coalesce(ours.{name}, 0) <> coalesce(sums.{name}, 0)" for name in MEASURES)

DAILY = f"""
    WITH sums AS (
        SELECT account_id, day, key_id, model, {SUMS} FROM usage_events WHERE day >= $1
        GROUP BY account_id, day, key_id, model
    ), ours AS (SELECT * FROM usage_daily WHERE day >= $1)
    SELECT concat_ws(', ', 'account ' || account_id, 'key ' || key_id, model, day) AS place,
           json_build_object({COMPARED})::text AS excess
    FROM ours FULL JOIN sums USING (account_id, day, key_id, model)
    WHERE {UNEQUAL} ORDER BY account_id, day, key_id, model LIMIT $2
"""  # noqa: S608  # Made of constants.

PERIODS = f"""
    WITH sums AS (
        SELECT account_id, period, coalesce(key_id, {WHOLE_ACCOUNT}) AS key_id, {SUMS} FROM usage_events
        WHERE period >= $1 AND day >= $1::date - 35   -- An event lies in its period: this spares the older partitions.
        GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period))
    ), ours AS (SELECT * FROM usage_periods WHERE period >= $1)
    SELECT concat_ws(', ', 'account ' || account_id, 'key ' || nullif(key_id, {WHOLE_ACCOUNT}), 'period ' || period)
           AS place, json_build_object({COMPARED})::text AS excess
    FROM ours FULL JOIN sums USING (account_id, period, key_id)
    WHERE {UNEQUAL} ORDER BY account_id, period, key_id LIMIT $2
"""  # noqa: S608  # Made of constants.

PARKED = f"""
    WITH sums AS (
        SELECT account_id, period, coalesce(key_id, {WHOLE_ACCOUNT}) AS key_id, sum(charged_nano_usd) AS parked
        FROM usage_dead_letters
        WHERE period >= $1 AND account_id IS NOT NULL AND replayed_at IS NULL AND written_off_at IS NULL
        GROUP BY GROUPING SETS ((account_id, period, key_id), (account_id, period))
    ), ours AS (SELECT * FROM usage_periods WHERE period >= $1)
    SELECT concat_ws(', ', 'account ' || account_id, 'key ' || nullif(key_id, {WHOLE_ACCOUNT}), 'period ' || period)
           AS place, coalesce(parked_nano_usd, 0) - coalesce(parked, 0) AS excess
    FROM ours FULL JOIN sums USING (account_id, period, key_id)
    WHERE coalesce(parked_nano_usd, 0) <> coalesce(parked, 0) ORDER BY account_id, period, key_id LIMIT $2
"""  # noqa: S608  # Made of constants.

EVENTS = f"""
    SELECT event_id::text AS event_id, upstream_request_id, estimated, outcome, {", ".join(TOKEN_COLUMNS)}
    FROM usage_events WHERE event_id = ANY($1::uuid[])
"""  # noqa: S608  # Made of constants.

ESTIMATES = """
    SELECT estimated, count(*) AS events FROM usage_events WHERE day >= $1 AND estimated <> ''
    GROUP BY estimated ORDER BY estimated
"""

# A record begins and ends somewhere: the ids are ordered by time. What was released no upstream has seen.
UNKNOWN = f"""
    SELECT event_id::text AS event_id, estimated, charged_nano_usd AS charged FROM usage_events
    WHERE day >= $1 AND event_id BETWEEN $3 AND $4 AND NOT (event_id = ANY($2::uuid[]))
        AND outcome <> '{Outcome.RELEASED}'
    ORDER BY event_id LIMIT $5
"""  # noqa: S608  # Made of constants.

REPLACED = """
    SELECT replaced.event_id::text AS event_id, replaced.account_id, replaced.charged_nano_usd AS estimate,
           event.charged_nano_usd AS charged, event.waived_nano_usd AS waived
    FROM usage_replaced AS replaced LEFT JOIN usage_events AS event USING (event_id, day)
    WHERE day >= $1 ORDER BY replaced.replaced_at DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class Difference:
    invariant: str
    place: str
    explanation: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.place}: {self.explanation}"


@dataclass(frozen=True, slots=True)
class Replaced:
    event_id: str
    account_id: int
    estimate: int
    """Nano-dollars, as the next."""
    charged: int | None
    """With the next: None when the event's month has been removed."""
    waived: int | None
    """Where the cap was reached when the gateway's own count came."""

    def __str__(self) -> str:
        gave_way = (
            f"event {self.event_id} of account {self.account_id}: an estimate of {self.estimate} nano-dollars gave way"
            f" to the gateway's own count"
        )
        if self.charged is None:
            return f"{gave_way}, which is no longer in the ledger"
        return f"{gave_way}, {self.charged}" + (f", and {self.waived} waived at the cap" if self.waived else "")


class Reconciliation:
    """Reads one snapshot per call. `most` bounds the differences listed for each comparison."""

    def __init__(self, pool: asyncpg.Pool, *, maximum: int = 1_000) -> None:
        self._pool = pool
        self._most = maximum

    async def aggregate_differences(self, since: date) -> list[Difference]:
        """I3, for days and periods that begin on or after `since`."""
        found = []
        for table, query in (("usage_daily", DAILY), ("usage_periods", PERIODS)):
            for row in await self._pool.fetch(query, since, self._most):
                excess = f"{table} minus the sum of the events is {row['excess']}"
                found.append(Difference("I3", row["place"], excess))
        for row in await self._pool.fetch(PARKED, since, self._most):
            excess = f"usage_periods holds {row['excess']} nano-dollars more as parked than the dead letters that wait"
            found.append(Difference("I3", row["place"], excess))
        return found

    async def upstream_differences(self, served: Iterable[Served]) -> list[Difference]:
        """I1 and I2: `served` is the upstreams' own record (`metering.proof.served`).

        Several calls of one request (retries, fallbacks) share an id; the one that answered decides."""
        calls: dict[str, list[Served]] = {}
        found: list[Difference] = []
        for call in served:
            event_id = _event_id(call.get("client_request_id"))
            if event_id is None:
                found.append(Difference("I1", _name(call), "the upstream served a call that carries no event id"))
            else:
                calls.setdefault(event_id, []).append(call)
        ids = iter(calls)
        while part := list(islice(ids, EVENTS_PER_QUERY)):
            events: dict[str, list[dict[str, Any]]] = {}
            for row in await self._pool.fetch(EVENTS, part):
                events.setdefault(row["event_id"], []).append(dict(row))
            for event_id in part:
                found += _compare(event_id, calls[event_id], events.get(event_id, []))
        return found

    async def events_without_upstream(self, served: Iterable[Served], since: date) -> list[Difference]:
        """I1, the other way round: events since that day, of the time of the record, which no upstream has served."""
        known = sorted({event_id for call in served if (event_id := _event_id(call.get("client_request_id")))})
        if not known:
            return []
        rows = await self._pool.fetch(UNKNOWN, since, known, known[0], known[-1], self._most)
        return [
            Difference(
                "I1",
                f"event {row['event_id']}",
                f"no upstream has served it; charged {row['charged']} nano-dollars"
                + (f" by estimate: {row['estimated']}" if row["estimated"] else ""),
            )
            for row in rows
        ]

    async def replaced(self, since: date) -> list[Replaced]:
        """Estimates of events since that day that gave way to the gateway's own counts, newest first."""
        return [Replaced(**row) for row in await self._pool.fetch(REPLACED, since, self._most)]

    async def estimates(self, since: date) -> dict[str, int]:
        """How many events since that day hold our counts instead of the upstream's, by reason."""
        return {row["estimated"]: row["events"] for row in await self._pool.fetch(ESTIMATES, since)}


def _compare(event_id: str, calls: Sequence[Served], events: Sequence[Mapping[str, Any]]) -> list[Difference]:
    place = f"event {event_id}"
    if len(events) > 1:
        return [Difference("I1", place, f"is in the ledger {len(events)} times")]
    complete = [call for call in calls if call["outcome"] == COMPLETE]
    if not events:
        broken_off = (call for call in calls if call["outcome"] in BROKEN_OFF and call.get("delivered_chunks"))
        answered = [*complete, *broken_off]
        return [Difference("I1", place, f"{_name(answered[0])} is not in the ledger")] if answered else []
    event = events[0]
    if event["estimated"] or not complete:
        return []  # Counted by us and marked as such: listed by its reason, compared with nothing.
    counts = {name: event[name] for name in TOKEN_COLUMNS}
    if any(all(counts[name] == call[name] for name in TOKEN_COLUMNS) for call in complete):
        return []
    theirs = {name: complete[-1][name] for name in TOKEN_COLUMNS if complete[-1][name] != counts[name]}
    ours = {name: counts[name] for name in theirs}
    return [Difference("I2", place, f"the upstream counted {theirs}, the ledger holds {ours}")]


def _event_id(text: object) -> str | None:
    try:
        return str(UUID(str(text)))
    except ValueError:
        return None


def _name(call: Served) -> str:
    return f"upstream request {call.get('upstream_request_id')} ({call['outcome']})"
