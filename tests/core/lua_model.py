"""
What the scripts in `core/redis/lua` do, said a second time: slowly, in exact integers, and without a single counter.

The model remembers what happened (admissions, stream entries, ledger totals) and adds it up whenever it is asked. It is
written from the table in core/redis/keys.py and the headers of the scripts, not from their text.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Account", "Admission", "Entry", "Limits", "Model", "Request", "Scope"]

NO_VERSION = -1
MINUTE_MS = 60_000
CONCURRENCY_WAIT_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an operator sets on an account or a key. None = no limit."""

    status: str = "active"
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    cap: int | None = None
    expired: bool | None = None
    """None: never expires. Else whether that moment lies in the past."""
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    model: str
    input_tokens: int
    input_cost: int
    wanted: int
    fewest: int
    output_cost: int
    choices: int


@dataclass(eq=False, slots=True)
class Scope:
    """An account or a key."""

    kind: str
    limits: Limits | None = None
    """None: Redis has never heard of it."""
    epoch: str = ""
    """For which life of the server it was published."""
    periods: tuple[str, ...] = ()
    """Of an account, those that are not over, oldest first: the first one pays."""
    revision: int = 0
    minute: int = 0
    ledger: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Total and version by period, as Redis was told."""


@dataclass(eq=False, slots=True)
class Account:
    scope: Scope
    keys: list[Scope]


@dataclass(eq=False, slots=True)
class Admission:
    event_id: str
    scopes: tuple[Scope, Scope]
    period: str = "2026-11-01"
    """Of its account, at its admission; until then that of a request admitted on trust."""
    cost: int = 0
    tokens: int = 0
    """What it counts in its minute: reserved, then used, or nothing."""
    minute: int = 0
    caps: tuple[int | None, int | None] = (None, None)
    """Of the account and of the key, when it was admitted."""
    live: bool = False
    lease_expired: bool = False
    event: str = ""
    """What the sweeper would record."""


@dataclass(eq=False, slots=True)
class Entry:
    """On the usage stream."""

    admission: Admission
    charged: int
    waived: int


class Model:
    def __init__(self) -> None:
        self.epoch = "first"
        self.admissions: list[Admission] = []
        self.entries: list[Entry] = []

    # What there is, added up.

    def live(self, scope: Scope) -> list[Admission]:
        return [one for one in self.admissions if one.live and scope in one.scopes]

    def reserved(self, scope: Scope) -> int:
        return sum(one.cost for one in self.live(scope))

    def pending(self, scope: Scope) -> dict[str, int]:
        sums: dict[str, int] = defaultdict(int)
        for entry in self.entries:
            if scope in entry.admission.scopes:
                sums[entry.admission.period] += entry.charged
        return sums

    def spent(self, scope: Scope, period: str) -> int:
        return scope.ledger.get(period, (0, NO_VERSION))[0] + self.pending(scope)[period]

    def this_minute(self, scope: Scope, minute: int) -> list[Admission]:
        if scope.minute != minute:
            return []
        return [one for one in self.admissions if scope in one.scopes and one.minute == minute]

    def room(self, scope: Scope, period: str) -> int | None:
        """What the cap leaves; None without a cap."""
        if scope.limits is None or scope.limits.cap is None:
            return None
        return scope.limits.cap - self.spent(scope, period) - self.reserved(scope)

    # What happens.

    def admit(self, admission: Admission, request: Request, now_ms: int) -> list[Any]:
        """The reply; `admission` is live afterwards if it was admitted."""
        minute, rest = now_ms // MINUTE_MS, MINUTE_MS - now_ms % MINUTE_MS
        refusal = self._cold(admission)
        if refusal is None:
            admission.period = admission.scopes[0].periods[0]
        refusal = refusal or self._forbidden(admission, request.model)
        granted = request.wanted
        for scope in () if refusal else admission.scopes:
            granted, refusal = self._affordable(scope, admission.period, request, granted)
            refusal = self._busy(scope, minute, rest) or refusal
            if refusal:
                break
        tokens = request.input_tokens + granted * request.choices
        refusal = refusal or self._too_many_tokens(admission, tokens, minute, rest)
        if refusal:
            return refusal
        admission.cost = request.input_cost + granted * request.output_cost
        admission.tokens, admission.minute, admission.live = tokens, minute, True
        account, key = (scope.limits.cap if scope.limits else None for scope in admission.scopes)
        admission.caps = account, key
        for scope in admission.scopes:
            scope.minute = minute
        self.admissions.append(admission)
        return ["admitted", granted, admission.cost, rest, *self._left(admission.scopes[0], minute), admission.period]

    def settle(
        self, admission: Admission, cost: int, tokens: int, *, only_if_expired: bool, epoch: str
    ) -> list[int] | str | None:
        if only_if_expired and not (admission.live and admission.lease_expired):
            return None
        if epoch and any(scope.epoch != epoch for scope in admission.scopes):
            return "cold"
        held = admission.cost if admission.live else 0
        charged = cost
        for scope, cap_then in zip(admission.scopes, admission.caps, strict=True):
            if scope.limits is not None and scope.limits.cap is not None:
                spent = self.spent(scope, admission.period)
                promised = held if cap_then is None else min(held, cap_then - spent)
                charged = min(charged, max(scope.limits.cap - spent, promised, 0))
        if admission.live:
            admission.live, admission.tokens = False, tokens
        self.entries.append(Entry(admission, charged, cost - charged))
        return [charged, cost - charged]

    def release(self, admission: Admission, *, only_if_expired: bool) -> int:
        if not admission.live or (only_if_expired and not admission.lease_expired):
            return 0
        admission.live, admission.tokens = False, 0
        return 1

    def renew(self, admission: Admission, event: str) -> int:
        if admission.live:
            admission.event = event
        return int(admission.live)

    def publish(
        self,
        scope: Scope,
        limits: Limits,
        *,
        revision: int,
        epoch: str,
        periods: tuple[str, ...],
        period: str,
        total: int,
        version: int,
        force: bool,
    ) -> int:
        scope.epoch = epoch
        if force or version >= scope.ledger.get(period, (0, NO_VERSION))[1]:
            scope.ledger[period] = total, version
        if scope.limits is None or scope.revision <= revision:
            scope.limits, scope.revision, scope.periods = limits, revision, periods
        return scope.revision

    def confirm(self, entries: list[Entry], totals: list[tuple[Scope, str, int, int]]) -> int:
        gone = [entry for entry in entries if entry in self.entries]
        self.entries = [entry for entry in self.entries if entry not in gone]
        for scope, period, total, version in totals:
            if version > scope.ledger.get(period, (0, NO_VERSION))[1]:
                scope.ledger[period] = total, version
        return len(gone)

    def lose_everything(self, scopes: list[Scope]) -> None:
        self.entries = []
        for admission in self.admissions:
            admission.live = False
        self.admissions = []
        for scope in scopes:
            scope.limits, scope.revision, scope.minute, scope.ledger = None, 0, 0, {}
            scope.epoch, scope.periods = "", ()

    # Why a request is refused, in the order in which it is asked.

    def _cold(self, admission: Admission) -> list[Any] | None:
        if not admission.scopes[0].periods:
            return ["cold", "account", 0, 0]
        return next((["cold", one.kind, 0, 0] for one in admission.scopes if self._is_cold(one)), None)

    def _is_cold(self, scope: Scope) -> bool:
        return scope.limits is None or scope.epoch != self.epoch

    def _forbidden(self, admission: Admission, model: str) -> list[Any] | None:
        for scope in admission.scopes:
            limits = scope.limits
            assert limits is not None
            if limits.status != "active":
                return [limits.status, scope.kind, 0, 0]
            if limits.expired:
                return ["expired", scope.kind, 0, 0]
            if limits.models is not None and model not in limits.models:
                return ["model", scope.kind, 0, 0]
        return None

    def _busy(self, scope: Scope, minute: int, rest: int) -> list[Any] | None:
        limits = scope.limits
        assert limits is not None
        if limits.rpm is not None and len(self.this_minute(scope, minute)) >= limits.rpm:
            return ["requests", scope.kind, limits.rpm, rest]
        if limits.concurrency is not None and len(self.live(scope)) >= limits.concurrency:
            return ["concurrency", scope.kind, limits.concurrency, CONCURRENCY_WAIT_MS]
        return None

    def _affordable(self, scope: Scope, period: str, request: Request, granted: int) -> tuple[int, list[Any] | None]:
        """What the cap, and then what a whole minute leaves of the wanted output."""
        assert scope.limits is not None
        room = self.room(scope, period)
        if room is not None:
            room -= request.input_cost
            granted = min(granted, room // request.output_cost) if request.output_cost else granted
            if room < 0 or granted < request.fewest:
                return granted, ["cap", scope.kind, scope.limits.cap, 0]
        if scope.limits.tpm is not None:
            granted = min(granted, (scope.limits.tpm - request.input_tokens) // request.choices)
            if granted < request.fewest:
                return granted, ["oversized", scope.kind, scope.limits.tpm, 0]
        return granted, None

    def _too_many_tokens(self, admission: Admission, tokens: int, minute: int, rest: int) -> list[Any] | None:
        for scope in admission.scopes:
            limit = scope.limits.tpm if scope.limits else None
            used = sum(one.tokens for one in self.this_minute(scope, minute))
            if limit is not None and used + tokens > limit:
                return ["tokens", scope.kind, limit, rest]
        return None

    def _left(self, scope: Scope, minute: int) -> list[int]:
        assert scope.limits is not None
        used = self.this_minute(scope, minute)
        pairs = [(scope.limits.rpm, len(used)), (scope.limits.tpm, sum(one.tokens for one in used))]
        return [number for limit, taken in pairs for number in ((-1, -1) if limit is None else (limit, limit - taken))]
