"""
Stream entries that the ledger could not take, kept with everything needed to try again.

After a fix (a newer version that reads the entry, a partition attached again) `replay` puts the same fields back on the
same stream. The event id decides, as always: an event that is in the ledger already is not recorded again. What nobody
will ever bill is written off.

What a letter has charged counts against the caps for as long as it waits. A replay does not end that: Redis may lose
what it has acknowledged a moment ago. The ledger does, in the transaction that records the event, or finds it recorded
(`parking`). So the amount may count twice for a moment, never not at all, and a replay that was lost can be repeated.
Only a letter without an event id, which the ledger would not recognise, ends with its replay.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg
import orjson
from redis.asyncio import Redis

from core.principal import AccountId, KeyId
from core.redis import script_calls
from core.redis.keys import ShardKeys
from core.redis.lua_scripts import Call
from core.redis.script_calls import Confirmation
from core.redis.script_runner import ScriptRunner
from metering.errors import RedisNotSynced
from metering.ledger.aggregates import PeriodTotal, move_parked, totals_of
from metering.ledger.entries import Entry, amount_of
from metering.ledger.parking import WAITS
from metering.ledger.scopes import add_total

__all__ = ["DeadLetters", "ParkedEntry", "Selection", "Waiting"]

LETTERS_PER_BATCH = 500
SYNC_MS = 4_000
"""Redis writes to its disk every second, and waits for a disk that stalls."""

COLUMNS = (
    "dead_letter_id, stream, entry_id, fields, reason, parked_at, replayed_at, account_id, key_id, period,"
    " charged_nano_usd, event_id, on_stream_since, on_stream_as, written_off_at, written_off_by, written_off_reason"
)
LIST = f"""
    SELECT {COLUMNS} FROM usage_dead_letters WHERE $1 OR ({WAITS}) ORDER BY dead_letter_id LIMIT $2
"""  # noqa: S608  # Made of constants.
SHOW = f"SELECT {COLUMNS} FROM usage_dead_letters WHERE dead_letter_id = $1"  # noqa: S608  # Made of constants.
WAITING = f"""
    SELECT count(*) AS letters, coalesce(sum(charged_nano_usd), 0)::bigint AS charged,
           count(*) FILTER (WHERE account_id IS NULL) AS nameless, count(on_stream_as) AS on_stream
    FROM usage_dead_letters WHERE {WAITS}
"""  # noqa: S608  # Made of constants.
LAST = f"SELECT coalesce(max(dead_letter_id), 0) FROM usage_dead_letters WHERE {WAITS}"  # noqa: S608  # Made of constants.
NEXT = f"""
    SELECT {COLUMNS} FROM usage_dead_letters
    WHERE {WAITS} AND dead_letter_id > $1 AND dead_letter_id <= $2
        AND ($3::bigint IS NULL OR dead_letter_id = $3) AND strpos(reason, $4) > 0
        AND ($5 OR on_stream_as IS NULL)
    ORDER BY dead_letter_id LIMIT {LETTERS_PER_BATCH} FOR UPDATE
"""  # noqa: S608  # Made of constants.


def _end(changes: str) -> str:
    return f"""
        WITH letters AS (
            UPDATE usage_dead_letters SET {changes} WHERE dead_letter_id = ANY($1::bigint[])
            RETURNING account_id, key_id, period, charged_nano_usd
        ), {move_parked("letters", "-")}
        SELECT count(*) FROM letters
    """  # noqa: S608  # Made of constants.


MARK_ON_STREAM = """
    UPDATE usage_dead_letters AS letter SET on_stream_since = now(), on_stream_as = entry.entry_id
    FROM unnest($1::bigint[], $2::text[]) AS entry (dead_letter_id, entry_id)
    WHERE letter.dead_letter_id = entry.dead_letter_id AND letter.on_stream_as IS DISTINCT FROM entry.entry_id
"""
MARK_REPLAYED = _end("replayed_at = now()")
WRITE_OFF = _end("written_off_at = now(), written_off_by = $2, written_off_reason = $3")


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    dead_letter_id: int
    stream: str
    entry_id: str
    fields: dict[str, bytes]
    reason: str
    parked_at: datetime
    replayed_at: datetime | None
    """Its event was recorded; without an event id: it was put back."""
    account_id: AccountId | None
    """With the next three: whose amount is parked. None where the entry does not name its account."""
    key_id: KeyId | None
    period: date | None
    charged: int | None
    event_id: UUID | None
    on_stream_since: datetime | None
    """Put back, and neither recorded nor parked again so far."""
    on_stream_as: str | None
    written_off_at: datetime | None
    written_off_by: str | None
    written_off_reason: str | None

    @property
    def ended(self) -> bool:
        return bool(self.replayed_at or self.written_off_at)


@dataclass(frozen=True, slots=True)
class Selection:
    """Letters that wait: all of them, one, or those whose reason contains a text."""

    dead_letter_id: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    letters: int
    charged: int
    """Nano-dollars that they have charged; they count against the caps."""
    nameless: int
    """How many of them name no account: what they have charged counts nowhere."""
    on_stream: int
    """How many of them have been put back."""


Batch = Sequence[ParkedEntry]
Totals = Mapping[ShardKeys, Sequence[PeriodTotal]]
Progress = Callable[[int], None]
Act = Callable[[asyncpg.pool.PoolConnectionProxy, Batch], Awaitable[None]]


class DeadLetters:
    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._pool = pool
        self._scripts = ScriptRunner(redis)

    async def waiting(self) -> Waiting:
        (row,) = await self._pool.fetch(WAITING)
        return Waiting(*row)

    async def list(self, *, ended: bool = False, limit: int = 100) -> list[ParkedEntry]:
        """Oldest first; those replayed or written off only on request."""
        return [_parked(row) for row in await self._pool.fetch(LIST, ended, limit)]

    async def show(self, dead_letter_id: int) -> ParkedEntry | None:
        row = await self._pool.fetchrow(SHOW, dead_letter_id)
        return _parked(row) if row else None

    async def replay(self, selection: Selection, *, progress: Progress = lambda done: None) -> int:
        """Put them back on their streams and return how many there were. `progress` hears after each batch.

        On the stream first, marked second: if we die between the two, they are replayed twice and recorded once. What
        is on its stream already is left there; a letter's row is locked, so what is not is lost. Those that end with
        their replay do so only when Redis has them on its disk. Raises RedisNotSynced."""

        async def put_back(connection: asyncpg.pool.PoolConnectionProxy, letters: Batch) -> None:
            ending = [letter for letter in letters if letter.event_id is None]
            await self._put_back_to_disk(ending)
            await connection.execute(MARK_REPLAYED, [letter.dead_letter_id for letter in ending])
            waiting = [letter for letter in letters if letter.event_id is not None]
            entry_ids = await self._scripts.run_all([_replay_call(letter) for letter in waiting])
            ids = [letter.dead_letter_id for letter in waiting], [entry_id.decode() for entry_id in entry_ids]
            await connection.execute(MARK_ON_STREAM, *ids)

        return await self._in_batches(selection, put_back, progress, on_stream=True)

    async def write_off(
        self, selection: Selection, *, by: str, reason: str, progress: Progress = lambda done: None
    ) -> int:
        """They will never be billed: what they have charged counts no longer. Returns how many there were. What is on
        its stream is left alone: it may be recorded at any moment."""

        async def write_off(connection: asyncpg.pool.PoolConnectionProxy, letters: Batch) -> None:
            await connection.execute(WRITE_OFF, [letter.dead_letter_id for letter in letters], by, reason)

        return await self._in_batches(selection, write_off, progress, on_stream=False)

    async def _in_batches(self, selection: Selection, act: Act, progress: Progress, *, on_stream: bool) -> int:
        """Each one transaction. Letters that come back while we work are left for the next time. `on_stream`: those
        that have been put back as well."""
        last = await self._pool.fetchval(LAST)
        done, after = 0, 0
        while True:
            chosen = after, last, selection.dead_letter_id, selection.reason, on_stream
            try:
                letters, totals = await self._batch(chosen, act)
            except asyncpg.DeadlockDetectedError:  # With a batch of the ledger, which locks the sums first.
                letters, totals = await self._batch(chosen, act)
            if not letters:
                return done
            await self._set_totals(totals)
            done, after = done + len(letters), letters[-1].dead_letter_id
            progress(done)

    async def _batch(self, chosen: tuple[object, ...], act: Act) -> tuple[Batch, Totals]:
        async with self._pool.acquire() as connection, connection.transaction():
            letters = [_parked(row) for row in await connection.fetch(NEXT, *chosen)]
            if letters:
                await act(connection, letters)
            return letters, await _totals(connection, letters)

    async def _put_back_to_disk(self, letters: Batch) -> None:
        calls = [_replay_call(letter) for letter in letters]
        if calls and not await self._scripts.run_all_to_disk(calls, wait_ms=SYNC_MS):
            raise RedisNotSynced(f"Redis did not write them to its disk within {SYNC_MS} ms: replay them again.")

    async def _set_totals(self, totals: Totals) -> None:
        """After the commit: if we die before, the check of the counters does it."""
        calls = []
        for shard, of_shard in totals.items():
            confirmation = Confirmation(shard.usage_stream)
            for total in of_shard:
                add_total(confirmation, shard, total)
            calls.append(confirmation.call)
        await self._scripts.run_all(calls)


async def _totals(connection: asyncpg.pool.PoolConnectionProxy, letters: Batch) -> Totals:
    """What the accounts and keys of these letters have spent now, by their shard."""
    places: dict[ShardKeys, list[tuple[AccountId, KeyId, date]]] = {}
    for letter in letters:
        if letter.account_id and letter.key_id and letter.period:
            shard = ShardKeys.of_stream(letter.stream)
            places.setdefault(shard, []).append((letter.account_id, letter.key_id, letter.period))
    return {shard: await totals_of(connection, of_shard) for shard, of_shard in places.items()}


def _replay_call(letter: ParkedEntry) -> Call:
    shard = ShardKeys.of_stream(letter.stream)
    fields = {name.encode(): value for name, value in letter.fields.items()}
    amount = amount_of(Entry(shard, letter.entry_id.encode(), fields))
    before = letter.on_stream_as or ""
    if amount is None:
        return script_calls.replay(letter.stream, fields, before=before)
    return script_calls.replay(
        letter.stream,
        fields,
        before=before,
        scopes=(shard.account(amount.account_id), shard.key(amount.key_id)),
        period=amount.period.isoformat(),
        charged=amount.charged_nano_usd,
    )


def _parked(row: asyncpg.Record) -> ParkedEntry:
    dead_letter_id, stream, entry_id, fields, *rest = row
    decoded = {name: base64.b64decode(value) for name, value in orjson.loads(fields).items()}
    return ParkedEntry(dead_letter_id, stream, entry_id, decoded, *rest)
