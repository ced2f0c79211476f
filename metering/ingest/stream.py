"""
The usage streams of some shards, as one consumer sees them.

An entry that was read stays pending under the consumer's name until `confirm`. `read_pending` gives this consumer's
own again (after a failed round, after a restart under the same name), `claim` takes over those of the dead.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from core.redis import script_calls
from core.redis.keys import CONSUMER_GROUP, ShardKeys
from core.redis.script_calls import Confirmation
from core.redis.script_runner import ScriptRunner
from metering.ledger.aggregates import PeriodTotal
from metering.ledger.entries import Amount, Entry, UsageRow
from metering.ledger.scopes import add_total
from metering.metrics import DELETED_PENDING

__all__ = ["ENTRIES_PER_CALL", "Settled", "UsageStreams", "confirm_calls"]

log = logging.getLogger(__name__)

ENTRIES_PER_CALL = 200
"""Redis does nothing else while a script runs: some 200 entries are half a millisecond."""

NEW, OWN_PENDING = ">", "0"


@dataclass(frozen=True, slots=True)
class Settled:
    """An entry that Postgres has, as an event or as a dead letter, and what leaves `pending` with it: nothing where the
    entry does not name its account."""

    entry: Entry
    amount: UsageRow | Amount | None

    @property
    def order(self) -> tuple[str, int, int]:
        """Entries of one account go into one call where they fit."""
        amount = self.amount
        return self.entry.shard.tag, amount.account_id if amount else 0, amount.key_id if amount else 0


class UsageStreams:
    """`consumer` must be unique among the running consumers."""

    def __init__(self, redis: Redis, shards: Sequence[ShardKeys], *, consumer: str) -> None:
        self._redis = redis
        self._shards = {shard.usage_stream: shard for shard in shards}
        self._consumer = consumer
        self._scripts = ScriptRunner(redis)

    @property
    def count(self) -> int:
        """Number of streams."""
        return len(self._shards)

    async def create_groups(self) -> None:
        """Does nothing where they exist. A new group begins at the first entry, not at the end.

        A Redis whose memory is full refuses even to say that they exist; emptying it is our work, so we read on."""
        for stream in self._shards:
            try:
                await self._redis.xgroup_create(stream, CONSUMER_GROUP, id="0", mkstream=True)
            except OutOfMemoryError:
                continue
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def read_new(self, per_shard: int, *, block_ms: int) -> list[Entry]:
        """Waits up to `block_ms` for the first entry."""
        return await self._read(NEW, per_shard, block_ms)

    async def read_pending(self, per_shard: int) -> list[Entry]:
        """What this consumer has read before and not confirmed, oldest first."""
        return await self._read(OWN_PENDING, per_shard, None)

    async def claim(self, per_shard: int, *, idle_ms: int) -> list[Entry]:
        """Take over what other consumers read and did not confirm for `idle_ms`."""
        claimed: list[Entry] = []
        for stream, shard in self._shards.items():
            _, entries, deleted = await self._redis.xautoclaim(
                stream, CONSUMER_GROUP, self._consumer, idle_ms, "0-0", count=per_shard
            )
            _report_deleted(stream, deleted)
            claimed += [Entry(shard, entry_id, fields) for entry_id, fields in entries]
        return claimed

    async def confirm(self, settled: Iterable[Settled], totals: Iterable[PeriodTotal]) -> None:
        """Acknowledge and delete the entries and set the totals of their accounts and keys: one script call for each
        few hundred entries. May be repeated, whole or in part."""
        for call in confirm_calls(settled, totals):
            await self._scripts.run(call.call)

    async def forget_dead(self, *, silent_seconds: float) -> int:
        """Remove the names of consumers that were killed, once nothing of theirs is pending; how many there were."""
        silent_ms = round(silent_seconds * 1000)
        calls = [script_calls.forget(stream, silent_ms=silent_ms) for stream in self._shards]
        return sum(await self._scripts.run_all(calls))

    async def leave(self) -> None:
        """Remove this consumer from groups in which nothing of it is pending."""
        for stream in self._shards:
            for consumer in await self._redis.xinfo_consumers(stream, CONSUMER_GROUP):
                if consumer["name"].decode() == self._consumer and not consumer["pending"]:
                    await self._redis.xgroup_delconsumer(stream, CONSUMER_GROUP, self._consumer)

    async def _read(self, after: str, per_shard: int, block_ms: int | None) -> list[Entry]:
        streams: dict[Any, Any] = dict.fromkeys(self._shards, after)
        read = self._redis.xreadgroup
        answer: Any = await read(CONSUMER_GROUP, self._consumer, streams, count=per_shard, block=block_ms)
        return [entry for name, pairs in answer or () for entry in await self._entries(name.decode(), pairs)]

    async def _entries(self, stream: str, pairs: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
        shard = self._shards[stream]
        deleted = [entry_id for entry_id, fields in pairs if not fields]
        if deleted:
            _report_deleted(stream, deleted)
            await self._redis.xack(stream, CONSUMER_GROUP, *deleted)
        return [Entry(shard, entry_id, fields) for entry_id, fields in pairs if fields]


def confirm_calls(settled: Iterable[Settled], totals: Iterable[PeriodTotal]) -> Iterator[Confirmation]:
    """An account's entries go into one call together with its totals, unless there are too many for one call: then its
    counters are too high until the last one, which may refuse a request near a cap and never admits one too many."""
    waiting = _by_account(totals)
    for shard, of_shard in groupby(sorted(settled, key=lambda item: item.order), key=lambda item: item.entry.shard):
        call = Confirmation(shard.usage_stream)
        for account_id, group in groupby(of_shard, key=lambda item: item.amount.account_id if item.amount else None):
            items = list(group)
            if call.size and call.size + len(items) > ENTRIES_PER_CALL:
                yield call
                call = Confirmation(shard.usage_stream)
            for total in waiting.pop(account_id, ()):
                add_total(call, shard, total)
            for item in items:
                if call.size == ENTRIES_PER_CALL:
                    yield call
                    call = Confirmation(shard.usage_stream)
                _add_entry(call, shard, item)
        yield call


def _add_entry(call: Confirmation, shard: ShardKeys, item: Settled) -> None:
    amount, entry_id = item.amount, item.entry.entry_id.decode()
    if amount is None:
        call.add_entry(entry_id)
        return
    account, key = shard.account(amount.account_id), shard.key(amount.key_id)
    call.add_entry(entry_id, amount.charged_nano_usd, amount.period.isoformat(), account, key)


def _by_account(totals: Iterable[PeriodTotal]) -> dict[int | None, list[PeriodTotal]]:
    found: dict[int | None, list[PeriodTotal]] = {}
    for total in totals:
        found.setdefault(total.account_id, []).append(total)
    return found


def _report_deleted(stream: str, deleted: Sequence[bytes]) -> None:
    """Somebody trimmed or deleted entries that no ledger has confirmed: usage is lost."""
    if deleted:
        DELETED_PENDING.inc(len(deleted))
        log.error(
            "usage entries were deleted before they reached the ledger",
            extra={"stream": stream, "entries": len(deleted), "first": deleted[0].decode()},
        )
