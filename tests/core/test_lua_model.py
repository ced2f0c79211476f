"""
The scripts of `core/redis/lua` against the slow model of `lua_model`, on a real Valkey: any sequence of operations
leaves every field, every reply and the usage stream as the model says.

The scripts read the server's clock. No operation begins in the last moments of a minute; that minutes pass, and that
leases run out, is written into the hashes.
"""

import json
import random
import time
from collections import Counter
from itertools import count
from typing import Any
from uuid import UUID

import redis

from core.principal import AccountId, KeyId
from core.redis import script_calls
from core.redis.keys import ReservationKeys, shards
from core.redis.lua_scripts import Call, load_script
from core.redis.script_calls import Confirmation, PublishedTotal
from metering.ledger.entries import Entry as MeteringEntry
from metering.repair.counted import Counted
from tests.core.lua_model import MINUTE_MS, Account, Admission, Entry, Limits, Model, Request, Scope

[SHARD] = shards(1)
PERIODS = ("2026-10-01", "2026-11-01")
LEASE_MS = 600_000
EDGE_MS = 300
PAST, FUTURE = 1, 2**52
MILLION_USD = 10**15
SEQUENCES, STEPS = 12, 300
ANSWERS = {"admitted", "cold", "suspended", "revoked", "expired", "model", "requests", "concurrency", "cap"}
ANSWERS |= {"oversized", "tokens"}
OPERATIONS = {
    "admit": 30,
    "settle": 14,
    "release": 5,
    "renew": 5,
    "lease_runs_out": 4,
    "publish": 8,
    "publish_an_older_ledger": 2,
    "commit_to_the_ledger": 6,
    "confirm": 7,
    "a_minute_passes": 3,
    "redis_loses_everything": 0.3,
    "redis_restarts": 1,
}
"""How often each of them comes."""


class Dice(random.Random):
    """`scale` is the largest amount of nano-dollars that one request costs."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.scale = self.choice([3, 200, 10**6, MILLION_USD // 200, MILLION_USD * 9 // 10])
        self.unlimited = 0 if self.scale > 10**14 else 30
        """Percent. Without a cap, amounts of that size would add up to more than a double can count."""

    def chance(self, percent: float) -> bool:
        return self.random() * 100 < percent

    def maybe(self, percent: float, maximum: int) -> int | None:
        return self.randint(0, maximum) if self.chance(percent) else None

    def amount(self) -> int:
        return self.choice([0, 1, self.randint(0, self.scale), self.randint(0, self.scale), self.scale])

    def limits(self) -> Limits:
        """Few at once: a scope that refuses everything shows nothing."""
        return Limits(
            status=self.choice(["suspended", "revoked"]) if self.chance(4) else "active",
            rpm=self.maybe(20, 5),
            tpm=10 * self.randint(0, self.choice([6, 500])) if self.chance(20) else None,
            concurrency=self.maybe(20, 4),
            cap=self.choice([0, self.scale, self.randint(0, 12 * self.scale), 9 * MILLION_USD])
            if self.chance(70)
            else None,
            expired=self.choice([None] * 8 + [False, True]),
            models=self.choice([("m",), ("m", "n"), ("m-long", "n"), ("long",), ()]) if self.chance(10) else None,
        )

    def request(self) -> Request:
        wanted = self.choice([0, 1, 10, 20, self.randint(0, 40)])
        return Request(
            model=self.choice(["m", "m", "m", "n", "m-long"]),
            input_tokens=self.choice([0, 10 * self.randint(0, 4), self.randint(0, 2_000)]),
            input_cost=self.amount(),
            wanted=wanted,
            fewest=min(wanted, self.choice([0, 1, 16])),
            output_cost=self.choice([0, 1, self.randint(0, 1 + self.scale // 20)]),
            choices=self.choice([1, 1, 1, 2, 3]),
        )


class Machine:
    """One operation after the other, on the scripts and on the model."""

    def __init__(self, client: redis.Redis, dice: Dice) -> None:
        self.redis = client
        self.dice = dice
        self.redis.flushall()
        self.scripts: dict[str, Any] = {}
        self.model = Model()
        self.accounts = [Account(Scope("account"), [Scope("key") for _ in range(keys)]) for keys in (2, 1)]
        self.names: dict[Scope, str] = {}
        self.numbers: dict[Scope, int] = {}
        for number, account in enumerate(self.accounts, 1):
            self._name(account.scope, number, SHARD.account(AccountId(number)))
            for key_number, key in enumerate(account.keys, 10 * number):
                self._name(key, key_number, SHARD.key(KeyId(key_number)))
        self.event_ids = count(1)
        self.known: list[Admission] = []
        self.operations = 0
        self.replies: Counter[str] = Counter()
        self.stream_ids: dict[Entry, str] = {}
        self.recorded: set[str] = set()
        self.totals: dict[tuple[Scope, str], tuple[int, int]] = {}
        self.confirmations: list[tuple[list[Entry], list[tuple[Scope, str, int, int]]]] = []

    def _name(self, scope: Scope, number: int, name: str) -> None:
        self.names[scope], self.numbers[scope] = name, number

    def run(self, steps: int) -> None:
        for scope in self.names:
            self._publish(scope, self.dice.limits())
        for _ in range(steps):
            self.operations += 1
            [operation] = self.dice.choices(list(OPERATIONS), list(OPERATIONS.values()))
            getattr(self, operation)()
            self.check()

    # Operations.

    def publish(self) -> None:
        scope = self._scope()
        self._publish(scope, self.dice.limits(), revision=max(1, scope.revision + self.dice.choice([1, 1, 0, -1])))

    def publish_an_older_ledger(self) -> None:
        scope, period = self._scope(), self._period()
        total, version = self.totals.get((scope, period), (0, 0))
        back = self.dice.randint(0, 2)
        older = max(0, total - back), max(0, version - back)
        self._publish(scope, scope.limits or Limits(), period=period, ledger=older, force=self.dice.chance(30))

    def admit(self) -> None:
        account = self.dice.choice(self.accounts)
        request = self.dice.request()
        event_id = str(UUID(int=next(self.event_ids)))
        admission = Admission(event_id, (account.scope, self.dice.choice(account.keys)))
        admission.event = f"admitted-{event_id}"
        before_ms = self._well_before_the_edge()
        expected = self.model.admit(admission, request, before_ms)

        reply = self._run(
            script_calls.admit(
                self._keys(admission),
                epoch=self.model.epoch,
                model=request.model,
                lease_ms=LEASE_MS,
                input_tokens=request.input_tokens,
                input_cost=request.input_cost,
                output_tokens=request.wanted,
                min_output_tokens=request.fewest,
                output_cost=request.output_cost,
                choices=request.choices,
                event=admission.event.encode(),
            )
        )

        after_ms = self._now_ms()
        if after_ms // MINUTE_MS != before_ms // MINUTE_MS:
            raise StalledOverTheEdge
        assert _text(_without_clock(reply)) == _text(_without_clock(expected))
        assert 0 <= expected[3] - reply[3] <= after_ms - before_ms
        self.replies[expected[0]] += 1
        self.known.append(admission)
        if admission.live:
            rooms = [self.model.room(scope, admission.period) for scope in admission.scopes]
            assert all(room is None or room >= 0 for room in rooms), "an admitted request passed a cap"

    def renew(self) -> None:
        if not self.known:
            return
        admission = self._one()
        event = f"renewed-{admission.event_id}"
        expected = self.model.renew(admission, event)

        reply = self._run(script_calls.renew(self._keys(admission), lease_ms=LEASE_MS, event=event.encode()))

        assert reply == expected
        admission.lease_expired = admission.lease_expired and not admission.live

    def lease_runs_out(self) -> None:
        if self.known and (admission := self._one()).live:
            self.redis.zadd(SHARD.leases, {admission.event_id: PAST})
            admission.lease_expired = True

    def settle(self) -> None:
        if not self.known:
            return
        admission, sweeper = self._one(), self.dice.chance(30)
        cost = admission.cost * self.dice.randint(0, 150) // 100 + (self.dice.amount() if self.dice.chance(30) else 0)
        tokens = self.dice.choice([0, admission.tokens, self.dice.randint(0, 3_000)])
        before = [self.model.spent(scope, admission.period) for scope in admission.scopes]
        epoch = "" if self.dice.chance(20) else self.model.epoch
        expected = self.model.settle(admission, cost, tokens, only_if_expired=sweeper, epoch=epoch)

        event = self._event(admission).encode()
        reply = self._run(
            script_calls.settle(
                self._keys(admission),
                period=admission.period,
                cost=cost,
                tokens=tokens,
                event=event,
                only_if_expired=sweeper,
                epoch=epoch,
            )
        )

        assert (reply.decode() if isinstance(reply, bytes) else reply) == expected
        if not isinstance(expected, list):
            return
        last: Any = self.redis.xrevrange(SHARD.usage_stream, count=1)
        self.stream_ids[self.model.entries[-1]] = last[0][0].decode()
        for scope, cap_then, spent in zip(admission.scopes, admission.caps, before, strict=True):
            cap = scope.limits.cap if scope.limits else None
            if cap is not None and cap_then is not None:
                after = self.model.spent(scope, admission.period)
                assert after <= max(cap, cap_then, spent), "a settlement passed a cap"

    def release(self) -> None:
        if not self.known:
            return
        admission, sweeper = self._one(), self.dice.chance(50)
        expected = self.model.release(admission, only_if_expired=sweeper)

        reply = self._run(script_calls.release(self._keys(admission), only_if_expired=sweeper))

        assert reply == expected

    def commit_to_the_ledger(self) -> None:
        """A consumer reads some entries and commits them; what it has to confirm waits."""
        start = self.dice.randint(0, min(3, len(self.model.entries)))
        entries = self.model.entries[start : start + self.dice.randint(1, 6)]
        touched = {(scope, entry.admission.period) for entry in entries for scope in entry.admission.scopes}
        for entry in entries:
            if entry.admission.event_id in self.recorded:
                continue  # The ledger ignores an id it has seen.
            self.recorded.add(entry.admission.event_id)
            for scope in entry.admission.scopes:
                total, version = self.totals.get((scope, entry.admission.period), (0, 0))
                self.totals[scope, entry.admission.period] = total + entry.charged, version + 1
        totals = [(scope, period, *self.totals.get((scope, period), (0, 0))) for scope, period in touched]
        self.confirmations.append((entries, totals))

    def confirm(self) -> None:
        """In any order, and more than once."""
        if not self.confirmations:
            return
        position = self.dice.randrange(len(self.confirmations))
        entries, totals = self.confirmations[position]
        if self.dice.chance(60):
            del self.confirmations[position]
        expected = self.model.confirm(entries, totals)
        confirmation = Confirmation(SHARD.usage_stream)
        for one in entries:
            scopes = self._scopes(one.admission)
            confirmation.add_entry(self.stream_ids[one], one.charged, one.admission.period, *scopes)
        for scope, period, total, version in totals:
            confirmation.add_total(self.names[scope], period, total, version)

        reply = self._run(confirmation.call)

        assert reply == expected

    def a_minute_passes(self) -> None:
        """Seen from the hashes: what they hold is a minute older."""
        for scope, name in self.names.items():
            if scope.minute:
                scope.minute -= 1
                self.redis.hincrby(name, "minute", -1)
        for admission in self.model.admissions:
            admission.minute -= 1
            if admission.live:
                self.redis.hincrby(self._reservation(admission), "minute", -1)

    def redis_restarts(self) -> None:
        """With what it had: everything counts, nothing is admitted before it was published again."""
        self.model.epoch = f"life {next(self.event_ids)}"
        for scope in self.names:
            if self.dice.chance(80):
                self._publish(scope, scope.limits or self.dice.limits(), revision=max(1, scope.revision))

    def redis_loses_everything(self) -> None:
        self.redis.flushall()
        self.model.lose_everything(list(self.names))
        self.confirmations = []
        for scope in self.names:
            if self.dice.chance(80) or not self.dice.unlimited:
                self._publish(scope, self.dice.limits())

    # What must hold after each of them.

    def check(self) -> None:
        """On one look at everything: a round trip for each part would take four times as long."""
        live = [one for one in self.model.admissions if one.live]
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.zrange(SHARD.leases, 0, -1)
        pipeline.keys(SHARD.reservations + "*")
        pipeline.xrange(SHARD.usage_stream)
        for name in [*self.names.values(), *map(self._reservation, live)]:
            pipeline.hgetall(name)
        leases, names, entries, *hashes = pipeline.execute()
        scopes = {name: _decoded_bytes(stored) for name, stored in zip(self.names.values(), hashes, strict=False)}
        reservations = [_decoded_bytes(stored) for stored in hashes[len(scopes) :]]

        assert {lease.decode() for lease in leases} == {one.event_id for one in live}
        assert {name.decode() for name in names} == {self._reservation(one) for one in live}
        self.check_every_field(scopes)
        self.check_reservations(live, reservations)
        self.check_the_stream(entries)
        self.check_that_a_rebuild_finds_nothing_to_mend(scopes, reservations, entries)

    def check_every_field(self, scopes: dict[str, dict[str, str]]) -> None:
        for scope, name in self.names.items():
            assert _without_nothing(scopes[name]) == self._expected(scope), name

    def check_reservations(self, live: list[Admission], reservations: list[dict[str, str]]) -> None:
        for one, stored in zip(live, reservations, strict=True):
            scopes = dict(zip(("account", "key"), self._scopes(one), strict=True))
            expected: dict[str, Any] = {
                "cost": one.cost,
                "tokens": one.tokens,
                "minute": one.minute,
                "period": one.period,
                "event": one.event,
                "account_cap": one.caps[0],
                "key_cap": one.caps[1],
            }
            assert stored == _text_values(expected | scopes)

    def check_the_stream(self, entries: list[Any]) -> None:
        assert [_decoded_bytes(fields) for _, fields in entries] == [
            {"e": self._event(entry.admission), "c": str(entry.charged), "w": str(entry.waived)}
            for entry in self.model.entries
        ]

    def check_that_a_rebuild_finds_nothing_to_mend(
        self, scopes: dict[str, dict[str, str]], reservations: list[dict[str, str]], entries: list[Any]
    ) -> None:
        counted = Counted()
        for entry_id, fields in entries:
            counted.add_entry(MeteringEntry(SHARD, entry_id, fields))
        for one in reservations:
            counted.add_reservation(int(one["cost"]), one["account"], one["key"])
        for name, stored in scopes.items():
            assert counted.differences(name, stored) == []

    # How the model's words are written in Redis.

    def _publish(
        self,
        scope: Scope,
        limits: Limits,
        *,
        period: str = "",
        revision: int | None = None,
        ledger: tuple[int, int] | None = None,
        force: bool = False,
    ) -> None:
        period = period or self._period()
        epoch = "another server" if self.dice.chance(3) else self.model.epoch
        periods = self.dice.choice([PERIODS, PERIODS[1:], PERIODS[1:], PERIODS[1:], ()])
        if scope.kind == "key" or not self.dice.unlimited:
            periods = () if scope.kind == "key" else PERIODS[1:]
        revision = scope.revision + 1 if revision is None else revision
        total, version = ledger or self.totals.get((scope, period), (0, 0))
        expected = self.model.publish(
            scope,
            limits,
            revision=revision,
            epoch=epoch,
            periods=periods,
            period=period,
            total=total,
            version=version,
            force=force,
        )

        reply = self._run(
            script_calls.publish(
                self.names[scope],
                revision=revision,
                epoch=epoch,
                totals=[PublishedTotal(period, total, version, force)],
                fields=_limit_fields(limits) | _period_fields(periods),
            )
        )

        assert reply == expected

    def _expected(self, scope: Scope) -> dict[str, Any]:
        limits: dict[str, Any] = {"epoch": scope.epoch}
        if scope.limits is not None:
            limits |= _limit_fields(scope.limits) | _period_fields(scope.periods) | {"revision": scope.revision}
        used = self.model.this_minute(scope, scope.minute)
        counters: dict[str, int] = {
            "in_flight": len(self.model.live(scope)),
            "reserved": self.model.reserved(scope),
            "minute": scope.minute,
            "minute_requests": len(used) if scope.minute else 0,
            "minute_tokens": sum(one.tokens for one in used) if scope.minute else 0,
            **{f"pending:{period}": amount for period, amount in self.model.pending(scope).items()},
            **{f"ledger:{period}": total for period, (total, _) in scope.ledger.items()},
            **{f"ledger_version:{period}": version for period, (_, version) in scope.ledger.items()},
        }
        return {name: str(value) for name, value in (limits | counters).items() if value not in (0, "")}

    def _run(self, call: Call) -> Any:
        script = self.scripts.get(call.script)
        if script is None:
            script = self.scripts[call.script] = self.redis.register_script(load_script(call.script).text)
        return script(keys=call.keys, args=call.arguments)

    def _keys(self, admission: Admission) -> ReservationKeys:
        return SHARD.reserved(*self._scopes(admission), admission.event_id)

    def _scopes(self, admission: Admission) -> tuple[str, str]:
        account, key = admission.scopes
        return self.names[account], self.names[key]

    def _reservation(self, admission: Admission) -> str:
        return SHARD.reservation(UUID(admission.event_id))

    def _event(self, admission: Admission) -> str:
        account, key = (self.numbers[scope] for scope in admission.scopes)
        return json.dumps({"id": admission.event_id, "account": account, "key": key, "period": admission.period})

    def _scope(self) -> Scope:
        return self.dice.choice(list(self.names))

    def _period(self) -> str:
        return self.dice.choices(PERIODS, (1, 4))[0]

    def _one(self) -> Admission:
        """Mostly one that is alive."""
        live = [one for one in self.model.admissions if one.live]
        return self.dice.choice(live if live and self.dice.chance(75) else self.known[-50:])

    def _now_ms(self) -> int:
        seconds, microseconds = self.redis.time()
        return int(seconds * 1000 + microseconds // 1000)

    def _well_before_the_edge(self) -> int:
        while (now_ms := self._now_ms()) % MINUTE_MS >= MINUTE_MS - EDGE_MS:
            time.sleep(EDGE_MS / 1000)
        return now_ms


class StalledOverTheEdge(Exception):
    """The machine stood still from one minute into the next, in the middle of an operation: nobody can say which."""


def test_any_sequence_of_operations_is_what_the_slow_model_says(redis_url: str) -> None:
    replies: Counter[str] = Counter()
    seeds = list(range(SEQUENCES))

    with redis.Redis.from_url(redis_url) as client:
        while seeds:
            machine = Machine(client, Dice(seeds[0]))
            try:
                machine.run(STEPS)
            except StalledOverTheEdge:
                continue
            except AssertionError as error:
                raise AssertionError(f"sequence {seeds[0]}, operation {machine.operations}") from error
            replies += machine.replies
            del seeds[0]

    assert set(replies) == ANSWERS


def _limit_fields(limits: Limits) -> dict[str, Any]:
    fields = {
        "status": limits.status,
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "concurrency": limits.concurrency,
        "cap": limits.cap,
        "expires_at": {None: None, True: PAST, False: FUTURE}[limits.expired],
        "models": None if limits.models is None else f",{','.join(limits.models)},",
    }
    return {name: "" if value is None else value for name, value in fields.items()}


def _period_fields(periods: tuple[str, ...]) -> dict[str, Any]:
    """The first one is over where it is not in `periods`."""
    ends = [FUTURE if period in periods else PAST for period in PERIODS]
    return {
        "period": PERIODS[0],
        "period_ends": ends[0],
        "next_period": PERIODS[1],
        "next_period_ends": ends[1],
    }


def _without_clock(reply: list[Any]) -> list[Any]:
    return [*reply[:3], *reply[4:]]


def _text(reply: list[Any]) -> list[Any]:
    return [part.decode() if isinstance(part, bytes) else part for part in reply]


def _decoded_bytes(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _without_nothing(fields: dict[str, str]) -> dict[str, str]:
    """Absent, empty and 0 mean the same."""
    return {name: value for name, value in fields.items() if value not in ("", "0")}


def _text_values(fields: dict[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in fields.items()}
