"""
Stream entries that the ledger could not take, kept with everything needed to try again.

After a fix (a newer version that reads the entry, a corrected row) `replay` puts the same fields back on the same
stream. The event id decides, as always: an event that is in the ledger already is not recorded again.
"""

import base64
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson
from redis.asyncio import Redis

from core import script_calls
from core.lua_scripts import ScriptRunner
from core.redis_keys import ShardKeys
from core.usage_event import MalformedEvent
from metering.entries import Entry, usage_row

__all__ = ["DeadLetters", "ParkedEntry"]

LIST = """
    SELECT dead_letter_id, stream, entry_id, fields, reason, parked_at, replayed_at FROM usage_dead_letters
    WHERE $1 OR replayed_at IS NULL ORDER BY dead_letter_id LIMIT $2
"""
SHOW = """
    SELECT dead_letter_id, stream, entry_id, fields, reason, parked_at, replayed_at FROM usage_dead_letters
    WHERE dead_letter_id = $1
"""
MARK = "UPDATE usage_dead_letters SET replayed_at = now() WHERE dead_letter_id = $1"
WAITING = "SELECT count(*) FROM usage_dead_letters WHERE replayed_at IS NULL"


@dataclass(frozen=True, slots=True)
class ParkedEntry:
    dead_letter_id: int
    stream: str
    entry_id: str
    fields: dict[str, bytes]
    reason: str
    parked_at: datetime
    replayed_at: datetime | None


class DeadLetters:
    def __init__(self, pool: asyncpg.Pool, redis: Redis) -> None:
        self._pool = pool
        self._redis = redis
        self._scripts = ScriptRunner(redis)

    async def waiting(self) -> int:
        return int(await self._pool.fetchval(WAITING))

    async def list(self, *, replayed: bool = False, most: int = 100) -> list[ParkedEntry]:
        """Oldest first; those already replayed only on request."""
        return [_parked(row) for row in await self._pool.fetch(LIST, replayed, most)]

    async def show(self, dead_letter_id: int) -> ParkedEntry | None:
        row = await self._pool.fetchrow(SHOW, dead_letter_id)
        return _parked(row) if row else None

    async def replay(self, dead_letter_id: int) -> bool:
        """Put it back on its stream. False when there is no such letter or it was replayed before.

        On the stream first, marked second: if we die between the two, it is replayed twice and recorded once."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(f"{SHOW} FOR UPDATE", dead_letter_id)
            if row is None or row["replayed_at"] is not None:
                return False
            await self._put_back(_parked(row))
            await connection.execute(MARK, dead_letter_id)
        return True

    async def _put_back(self, letter: ParkedEntry) -> None:
        shard = ShardKeys.of_stream(letter.stream)
        fields = {name.encode(): value for name, value in letter.fields.items()}
        try:
            row = usage_row(Entry(shard, letter.entry_id.encode(), fields))
        except MalformedEvent:
            call = script_calls.replay(letter.stream, fields)
        else:
            call = script_calls.replay(
                letter.stream,
                fields,
                scopes=(shard.account(row.account_id), shard.key(row.key_id)),
                period=row.period.isoformat(),
                charged=row.charged_nano_usd,
            )
        await self._scripts.run(call)


def _parked(row: asyncpg.Record) -> ParkedEntry:
    fields = {name: base64.b64decode(value) for name, value in orjson.loads(row["fields"]).items()}
    return ParkedEntry(
        row["dead_letter_id"],
        row["stream"],
        row["entry_id"],
        fields,
        row["reason"],
        row["parked_at"],
        row["replayed_at"],
    )
