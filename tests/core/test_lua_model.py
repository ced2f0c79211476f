"""
The scripts of `core/lua` against the slow model of `lua_model`, on a real Valkey: any sequence of operations leaves
every field, every reply and the usage stream as the model says.

The scripts read the server's clock. No operation begins in the last moments of a minute; that minutes pass, and that
leases run out, is written into the hashes.
"""

import json
import time
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import hypothesis
import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.lua_scripts import load_script
from core.principal import AccountId, KeyId
from core.redis_keys import CONSUMER_GROUP, shards
from tests.core.lua_model import MINUTE_MS, Account, Admission, Entry, Limits, Model, Request, Scope

[SHARD] = shards(1)
PERIODS = ("2026-10-01", "2026-11-01")
LEASE_MS = 600_000
EDGE_MS = 300
PAST, FUTURE = 1, 2**52
MILLION_USD = 10**15

AMOUNTS = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 10_000), st.integers(0, MILLION_USD // 100))
TOKENS = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 200_000))
FEW = st.none() | st.integers(0, 4)
CAPS = st.none() | st.sampled_from([0, 1, 100, 20_000, 9 * MILLION_USD]) | st.integers(0, 200) | st.integers(0, 10**14)
LIMITS = st.builds(
    Limits,
    status=st.sampled_from(["active"] * 8 + ["suspended", "revoked"]),
    rpm=FEW,
    tpm=st.none() | st.integers(0, 500) | st.integers(0, 400_000),
    concurrency=FEW,
    cap=CAPS,
    expired=st.sampled_from([None, None, None, False, True]),
    models=st.sampled_from([None, None, ("m",), ("m", "n"), ("m-long", "n"), ("long",)]),
)
REQUESTS = st.builds(
    lambda wanted, least, **rest: Request(wanted=wanted, fewest=min(wanted, least), **rest),
    model=st.sampled_from(["m", "n", "m-long"]),
    input_tokens=TOKENS,
    input_cost=AMOUNTS,
    wanted=st.integers(0, 40) | st.integers(0, 2_000),
    least=st.just(16) | st.integers(0, 40),
    output_cost=st.integers(0, 3) | st.integers(0, 500) | st.integers(0, 10**9),
    choices=st.integers(1, 3),
)
WHICH = st.integers(0, 10**6)
FLAG = st.booleans()


class Machine(RuleBasedStateMachine):
    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.redis = client
        self.redis.flushall()
        self.scripts = {
            name: client.register_script(load_script(name).text)
            for name in ("admit", "dispatch", "renew", "settle", "release", "publish", "confirm", "rebuild")
        }
        self.model = Model()
        self.accounts = [Account(Scope("account"), [Scope("key") for _ in range(2)]) for _ in range(2)]
        self.names: dict[Scope, str] = {}
        self.identities: dict[Scope, str] = {}
        self.numbers: dict[Scope, int] = {}
        for number, account in enumerate(self.accounts, 1):
            self._name(account.scope, number, SHARD.account(AccountId(number)))
            for key_number, key in enumerate(account.keys, 10 * number):
                self._name(key, key_number, SHARD.key(KeyId(key_number)))
        self.event_ids = count(1)
        self.known: list[Admission] = []
        self.stream_ids: dict[Entry, str] = {}
        self.recorded: set[str] = set()
        self.totals: dict[tuple[Scope, str], tuple[int, int]] = {}
        self.confirmations: list[tuple[list[Entry], list[tuple[Scope, str, int, int]]]] = []

    def _name(self, scope: Scope, number: int, name: str) -> None:
        self.names[scope], self.numbers[scope] = name, number
        self.identities[scope] = f"{scope.kind}:{number}"

    # Operations.

    @rule(which=WHICH, limits=LIMITS, period=st.sampled_from(PERIODS), step=st.sampled_from([1, 1, 1, 0, -1]))
    def publish(self, which: int, limits: Limits, period: str, step: int) -> None:
        scope = list(self.names)[which % len(self.names)]
        self._publish(scope, limits, period, max(1, scope.revision + step))

    @rule(period=st.sampled_from(PERIODS), limits=LIMITS)
    def publish_all(self, limits: Limits, period: str) -> None:
        for scope in self.names:
            self._publish(scope, Limits(cap=limits.cap), period, scope.revision + 1)

    @rule(which=WHICH, period=st.sampled_from(PERIODS), back=st.integers(0, 2), force=FLAG)
    def publish_an_older_ledger(self, which: int, period: str, back: int, force: bool) -> None:
        scope = list(self.names)[which % len(self.names)]
        total, version = self.totals.get((scope, period), (0, 0))
        self._publish(
            scope,
            scope.limits or Limits(),
            period,
            scope.revision + 1,
            (max(0, total - back), max(0, version - back)),
            force,
        )

    @rule(which=WHICH, key=st.integers(0, 1), period=st.sampled_from(PERIODS), request=REQUESTS, sent=FLAG)
    def admit(self, which: int, key: int, period: str, request: Request, sent: bool) -> None:
        account = self.accounts[which % len(self.accounts)]
        event_id = str(UUID(int=next(self.event_ids)))
        admission = Admission(event_id, (account.scope, account.keys[key]), period)
        now_ms = self._now_ms()
        expected = self.model.admit(admission, request, now_ms)

        reply = self.scripts["admit"](
            keys=[*self._scopes(admission), self._reservation(admission), SHARD.leases],
            args=[event_id, period, request.model, LEASE_MS, request.input_tokens, request.input_cost, request.wanted,
                  request.fewest, request.output_cost, request.choices],
        )  # fmt: skip

        assert _text(_without_clock(reply)) == _text(_without_clock(expected))
        assert 0 <= expected[3] - reply[3] <= EDGE_MS
        self.known.append(admission)
        if admission.live:
            rooms = [self.model.room(scope, period) for scope in admission.scopes]
            assert all(room is None or room >= 0 for room in rooms), "an admitted request passed a cap"
            if sent:
                self._leave_event("dispatch", admission)

    @precondition(lambda self: self.known)
    @rule(which=WHICH)
    def dispatch(self, which: int) -> None:
        self._leave_event("dispatch", self._one(which))

    @precondition(lambda self: self.known)
    @rule(which=WHICH)
    def renew(self, which: int) -> None:
        admission = self._one(which)
        self._leave_event("renew", admission)
        admission.lease_expired = admission.lease_expired and not admission.live

    @precondition(lambda self: self.known)
    @rule(which=WHICH)
    def lease_runs_out(self, which: int) -> None:
        admission = self._one(which)
        if admission.live:
            self.redis.zadd(SHARD.leases, {admission.event_id: PAST})
            admission.lease_expired = True

    @precondition(lambda self: self.known)
    @rule(which=WHICH, share=st.integers(0, 150), extra=st.just(0) | AMOUNTS, tokens=TOKENS, sweeper=FLAG)
    def settle(self, which: int, share: int, extra: int, tokens: int, sweeper: bool) -> None:
        admission = self._one(which)
        cost = admission.cost * share // 100 + extra
        before = [self.model.room(scope, admission.period) for scope in admission.scopes]
        entries_before = len(self.model.entries)
        expected = self.model.settle(admission, cost, tokens, only_if_expired=sweeper)

        reply = self.scripts["settle"](
            keys=[*self._scopes(admission), self._reservation(admission), SHARD.leases, SHARD.usage_stream],
            args=[admission.event_id, admission.period, cost, tokens, self._event(admission), int(sweeper)],
        )

        assert reply == expected
        if expected is None:
            assert len(self.model.entries) == entries_before
            return
        last: Any = self.redis.xrevrange(SHARD.usage_stream, count=1)
        self.stream_ids[self.model.entries[-1]] = last[0][0].decode()
        for scope, room in zip(admission.scopes, before, strict=True):
            after = self.model.room(scope, admission.period)
            assert room is None or after is None or after >= min(room, 0), "a settlement passed a cap"

    @precondition(lambda self: self.known)
    @rule(which=WHICH, sweeper=FLAG)
    def release(self, which: int, sweeper: bool) -> None:
        admission = self._one(which)
        expected = self.model.release(admission, only_if_expired=sweeper)

        reply = self.scripts["release"](
            keys=[*self._scopes(admission), self._reservation(admission), SHARD.leases],
            args=[admission.event_id, int(sweeper)],
        )

        assert reply == expected

    @precondition(lambda self: self.model.entries)
    @rule(skip=st.integers(0, 3), most=st.integers(1, 4))
    def commit_to_the_ledger(self, skip: int, most: int) -> None:
        """A consumer reads some entries and commits them; what it has to confirm waits."""
        entries = self.model.entries[skip % len(self.model.entries) :][:most]
        touched = {(scope, entry.admission.period) for entry in entries for scope in entry.admission.scopes}
        for entry in entries:
            if entry.admission.event_id in self.recorded:
                continue  # The ledger ignores an id it has seen.
            self.recorded.add(entry.admission.event_id)
            for scope in entry.admission.scopes:
                total, version = self.totals.get((scope, entry.admission.period), (0, 0))
                self.totals[scope, entry.admission.period] = total + entry.charged, version + 1
        totals = [(scope, period, *self.totals[scope, period]) for scope, period in touched]
        self.confirmations.append((entries, totals))

    @precondition(lambda self: self.confirmations)
    @rule(which=WHICH, again=FLAG)
    def confirm(self, which: int, again: bool) -> None:
        """In any order, and more than once."""
        position = which % len(self.confirmations)
        entries, totals = self.confirmations[position]
        if not again:
            del self.confirmations[position]
        expected = self.model.confirm(entries, totals)
        scopes = list(self.names)
        lines = [
            (self.stream_ids[entry], entry.charged, entry.admission.period,
             *(scopes.index(scope) + 1 for scope in entry.admission.scopes))
            for entry in entries
        ]  # fmt: skip
        amounts = [(scopes.index(scope) + 1, period, str(total), version) for scope, period, total, version in totals]

        reply = self.scripts["confirm"](
            keys=[SHARD.usage_stream, *self.names.values()],
            args=[CONSUMER_GROUP, json.dumps(lines), json.dumps(amounts)],
        )

        assert reply == expected

    @rule()
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

    @rule(sure=st.integers(0, 9))
    def redis_loses_everything(self, sure: int) -> None:
        if sure == 0:
            self.redis.flushall()
            self.model.lose_everything(list(self.names))
            self.confirmations = []

    # What must hold after each of them.

    @invariant()
    def every_field_is_what_the_model_adds_up(self) -> None:
        for scope, name in self.names.items():
            stored: Any = self.redis.hgetall(name)
            assert _decoded(stored) == self._expected(scope), name

    @invariant()
    def reservations_and_leases_are_those_of_the_live(self) -> None:
        live = [one for one in self.model.admissions if one.live]
        leases: Any = self.redis.zrange(SHARD.leases, 0, -1)
        assert {lease.decode() for lease in leases} == {one.event_id for one in live}
        names: Any = list(self.redis.scan_iter(SHARD.reservations + "*", count=1000))
        assert {name.decode() for name in names} == {self._reservation(one) for one in live}
        for one in live:
            stored: Any = self.redis.hgetall(self._reservation(one))
            scopes = dict(zip(("account", "key"), self._scopes(one), strict=True))
            event = {} if one.event is None else {"event": one.event}
            expected = {"cost": one.cost, "tokens": one.tokens, "minute": one.minute, "period": one.period}
            assert {key.decode(): value.decode() for key, value in stored.items()} == _text_values(
                expected | scopes | event
            )

    @invariant()
    def the_stream_holds_what_was_settled_and_not_confirmed(self) -> None:
        stored: Any = self.redis.xrange(SHARD.usage_stream)
        assert [_text_values(_decoded_bytes(fields)) for _, fields in stored] == [
            {"e": self._event(entry.admission), "c": str(entry.charged), "w": str(entry.waived)}
            for entry in self.model.entries
        ]

    @invariant()
    def a_rebuild_finds_nothing_to_mend(self) -> None:
        reply: Any = self.scripts["rebuild"](
            keys=[SHARD.usage_stream, SHARD.leases, *self.names.values()],
            args=["0", SHARD.reservations, 1000, PERIODS[0], *self.identities.values()],
        )
        assert reply == [b"compared"]

    # How the model's words are written in Redis.

    def _publish(
        self,
        scope: Scope,
        limits: Limits,
        period: str,
        revision: int,
        ledger: tuple[int, int] | None = None,
        force: bool = False,
    ) -> None:
        total, version = ledger or self.totals.get((scope, period), (0, 0))
        expected = self.model.publish(
            scope, limits, revision=revision, period=period, total=total, version=version, force=force
        )
        fields = [part for pair in _limit_fields(limits).items() for part in pair]

        reply = self.scripts["publish"](
            keys=[self.names[scope]], args=[revision, period, total, version, int(force), *fields]
        )

        assert reply == expected

    def _leave_event(self, script: str, admission: Admission) -> None:
        event = f"{script}-{admission.event_id}"
        expected = self.model.leave_event(admission, event)
        keys = [self._reservation(admission)]
        if script == "dispatch":
            reply = self.scripts[script](keys=keys, args=[event])
        else:
            reply = self.scripts[script](keys=[*keys, SHARD.leases], args=[admission.event_id, LEASE_MS, event])

        assert reply == expected

    def _expected(self, scope: Scope) -> dict[str, Any]:
        limits = {} if scope.limits is None else _limit_fields(scope.limits) | {"revision": scope.revision}
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

    def _scopes(self, admission: Admission) -> list[str]:
        return [self.names[scope] for scope in admission.scopes]

    def _reservation(self, admission: Admission) -> str:
        return SHARD.reservation(UUID(admission.event_id))

    def _event(self, admission: Admission) -> str:
        account, key = (self.numbers[scope] for scope in admission.scopes)
        return json.dumps({"id": admission.event_id, "account": account, "key": key, "period": admission.period})

    def _one(self, which: int) -> Admission:
        """Mostly one of the latest: those are alive."""
        return self.known[-1 - which % min(4, len(self.known))] if which % 5 else self.known[which % len(self.known)]

    def _now_ms(self) -> int:
        while True:
            seconds, microseconds = self.redis.time()
            now_ms = seconds * 1000 + microseconds // 1000
            if now_ms % MINUTE_MS < MINUTE_MS - EDGE_MS:
                return int(now_ms)
            time.sleep(EDGE_MS / 1000)


def test_any_sequence_of_operations_is_what_the_slow_model_says(redis_url: str) -> None:
    settings = hypothesis.settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    with redis.Redis.from_url(redis_url) as client:
        run_state_machine_as_test(partial(Machine, client), settings=settings)  # type: ignore[arg-type]


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


def _without_clock(reply: list[Any]) -> list[Any]:
    return [*reply[:3], *reply[4:]]


def _text(reply: list[Any]) -> list[Any]:
    return [part.decode() if isinstance(part, bytes) else part for part in reply]


def _decoded_bytes(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items()}


def _decoded(fields: dict[bytes, bytes]) -> dict[str, str]:
    """Absent, empty and 0 mean the same."""
    return {name: value for name, value in _decoded_bytes(fields).items() if value not in ("", "0")}


def _text_values(fields: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}
