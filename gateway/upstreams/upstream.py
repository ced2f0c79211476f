"""A target as something that can be asked: its translator, its address, its credentials, and what keeps it from it."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from uuid import UUID

from core.models.models_file import Provider, Target
from gateway.dialects.pairs.table import translators
from gateway.failure import Fault, UpstreamFailure
from gateway.outbound.client import Transport
from gateway.outbound.exchange import UpstreamExchange
from gateway.outbound.head import header_line, request_head
from gateway.outbound.origin import Origin
from gateway.outbound.timeouts import Timeouts
from gateway.records import metrics
from gateway.upstreams.circuit_breaker import Circuit, CircuitBreaker, Event, State
from gateway.upstreams.rate_pause import NO_PAUSE

__all__ = ["AttemptOutcome", "Obstacle", "Permit", "Places", "Upstream"]

log = logging.getLogger(__name__)

ANTHROPIC_VERSION = b"2023-06-01"
MIN_KEY_LENGTH = 16
"""A shorter value of a header is a word (`eu`, `2024-10-21`), and no secret."""
BETA_HEADERS = (b"anthropic-beta", b"openai-beta")
"""What a client may tell the provider beside the body."""
SLOW_CONNECT_SECONDS = 0.25
"""A client that leaves while we have tried to connect for longer has met an upstream that can't be reached."""
FULL_SECONDS = 1.0
"""When a client may ask again that found every place taken."""


class AttemptOutcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    """The request was at fault."""
    ABANDONED = "abandoned"
    """The client hung up."""


class Obstacle(Enum):
    """Why an upstream can't be asked right now."""

    CIRCUIT = "circuit"
    RATE = "rate"
    FULL = "full"


EVENT_OF_FAULT = {
    Fault.REQUEST: Event.ANSWERED,
    Fault.ACCOUNT: Event.ACCOUNT_REFUSED,
    Fault.UNCLEAR: Event.UNCLEAR,
    Fault.RATE: Event.BEGUN,
    Fault.UPSTREAM: Event.FAILED,
    Fault.TIMEOUT: Event.FAILED,
    Fault.GARBAGE: Event.FAILED,
    Fault.TOO_LARGE: Event.ANSWERED,
}


class Places:
    """How many requests a provider account may have under way in this process, over all its targets. 0: any number."""

    __slots__ = ("maximum", "taken")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.taken = 0

    @property
    def full(self) -> bool:
        return bool(self.maximum) and self.taken >= self.maximum


@dataclass(slots=True)  # Not frozen: an attempt makes one.
class Permit:
    """The right to one attempt, and what has to be known when it ends."""

    account: int
    openings: int
    """Of the circuit, when the attempt began."""
    rate_probe: bool
    taken_at: float


class Upstream:
    """Belongs to one process; its circuit, its pause and the provider's places are all its state."""

    def __init__(self, target: Target, places: Places, *, connect_seconds: float, breaker: CircuitBreaker) -> None:
        self.target = target
        self.target_line = header_line(b"x-poindexter-target", target.name.encode())
        """Of every answer that this upstream has given."""
        self.priority, self.weight = target.priority, target.weight
        self.translators = translators(target)
        """By the name of the client API in which it can be asked."""
        self.dialect = (target.provider.schema, target.model)
        """Upstreams with the same one refuse the same requests."""
        self._places = places
        self._breaker = breaker
        self._circuit = Circuit()
        self._pause = NO_PAUSE
        self._origin, prefix = Origin.from_url(target.provider.base_url)
        headers = _headers(target.provider)
        self._heads = {
            api: request_head("POST", prefix + translator.path, self._origin.authority, headers)
            for api, translator in self.translators.items()
        }
        self._keys = _keys(target.provider)
        self._streaming = Timeouts(
            connect=connect_seconds,
            first_byte=target.first_byte_seconds,
            idle=target.idle_seconds,
            total=target.total_seconds,
        )
        # An answer that is not streamed sends its head when all of it is written: minutes, for a long one.
        self._whole = replace(self._streaming, first_byte=target.total_seconds)
        self._gauge = metrics.CIRCUITS_OPEN.labels(target.name)
        self._gauge.inc(0)
        self._counted = False
        self._retired = False

    def obstacle(self, account: int) -> Obstacle | None:
        """None: a request of this account may be sent; `take` a place for it, before anybody else can run."""
        now = time.monotonic()
        if not self._breaker.admits(self._circuit, account, now):
            return Obstacle.CIRCUIT
        if not self._pause.admits(account, now):
            return Obstacle.RATE
        return Obstacle.FULL if self._places.full else None

    def wait(self, obstacle: Obstacle) -> float:
        """Seconds until it is worth another try."""
        if obstacle is Obstacle.FULL:
            return FULL_SECONDS
        until = self._circuit.open_until if obstacle is Obstacle.CIRCUIT else self._pause.until
        return max(0.0, until - time.monotonic())

    def take(self, account: int) -> Permit:
        """A place for one attempt, when nothing is in the way. `ended` gives it back, always."""
        now = time.monotonic()
        self._places.taken += 1
        self._circuit = self._breaker.begun(self._circuit)
        rate_probe = self._pause.is_probe(now)
        if rate_probe:
            self._pause = self._pause.probed()
        return Permit(account, self._circuit.openings, rate_probe, now)

    def send(
        self,
        transport: Transport,
        api: str,
        body: bytes,
        event_id: UUID,
        client: Mapping[bytes, bytes],
        *,
        stream: bool,
    ) -> UpstreamExchange:
        """Start a request. `x-client-request-id` names our event, so that both sides' records can be compared."""
        head = b"%bx-client-request-id: %b\r\n" % (self._heads[api], str(event_id).encode())
        for name in BETA_HEADERS:
            if name in client and (betas := _betas(client[name], self.target.provider.betas)):
                head += header_line(name, betas)
        return transport.send(self._origin, head, body, self._streaming if stream else self._whole)

    def without_its_keys(self, body: bytes) -> bytes:
        """An error of this upstream as it may be shown and logged: some repeat the key that they were sent."""
        for key in self._keys:
            body = body.replace(key, b"[key]")
        return body

    def answering(self, permit: Permit) -> None:
        """A stream has begun; `ended` follows at its end."""
        if permit.rate_probe:
            permit.rate_probe, self._pause = False, self._pause.ended(answered=True)
        self._move(permit, Event.BEGUN)

    def ended(
        self,
        permit: Permit,
        outcome: AttemptOutcome,
        failure: UpstreamFailure | None = None,
        *,
        dispatched: bool = True,
    ) -> None:
        """An attempt is over; called once for each permit. `dispatched`: the upstream can have seen the request."""
        self._places.taken -= 1
        metrics.counter(metrics.ATTEMPTS, self.target.provider.name, outcome.value).inc()
        if failure is not None:
            self._note(failure)
        self._end_pause(permit, outcome, failure)
        self._move(permit, self._event(permit, outcome, failure, dispatched=dispatched))

    def retire(self) -> None:
        """The models file does not name it any more. What is under way still ends here, and is not shown."""
        self._retired = True
        self._show()

    def _event(
        self, permit: Permit, outcome: AttemptOutcome, failure: UpstreamFailure | None, *, dispatched: bool
    ) -> Event:
        if failure is not None:
            return EVENT_OF_FAULT[failure.fault]
        if outcome is not AttemptOutcome.ABANDONED:
            return Event.ANSWERED
        unreachable = not dispatched and time.monotonic() - permit.taken_at >= SLOW_CONNECT_SECONDS
        return Event.FAILED if unreachable else Event.LEFT

    def _end_pause(self, permit: Permit, outcome: AttemptOutcome, failure: UpstreamFailure | None) -> None:
        if failure is not None and failure.fault is Fault.RATE and failure.retry_after:
            wait = min(failure.retry_after, self._breaker.max_pause)
            self._pause = self._pause.refused(permit.account, wait=wait, now=time.monotonic(), probe=permit.rate_probe)
        elif permit.rate_probe:
            self._pause = self._pause.ended(answered=outcome is AttemptOutcome.OK)

    def _move(self, permit: Permit, event: Event) -> None:
        self._circuit = self._breaker.after(
            self._circuit, event, account=permit.account, openings=permit.openings, now=time.monotonic()
        )
        self._show()

    def _show(self) -> None:
        """Targets of one name share a gauge, which counts their open circuits."""
        open_now = self._circuit.state is not State.CLOSED and not self._retired
        if open_now is not self._counted:
            self._counted = open_now
            self._gauge.inc(1 if open_now else -1)

    def _note(self, failure: UpstreamFailure) -> None:
        """What the client is not told, because it concerns us and not the request."""
        if failure.fault is not Fault.REQUEST:
            log.warning(
                "upstream attempt failed",
                extra={
                    "target": self.target.name,
                    "fault": failure.fault.value,
                    "status": failure.status,
                    "error": (failure.detail or failure.message)[:300],
                },
            )


def _betas(sent: bytes, allowed: frozenset[str]) -> bytes:
    """Those that the models file lists for this provider: some betas change what a token costs."""
    values = (value.strip() for value in sent.decode("latin-1").split(","))
    return ",".join(value for value in values if value in allowed).encode()


def _keys(provider: Provider) -> list[bytes]:
    """What no client may see, the longest first: one may contain another."""
    values = {provider.api_key.reveal(), *(value for _, value in provider.headers)}
    return sorted((value.encode() for value in values if len(value) >= MIN_KEY_LENGTH), key=len, reverse=True)


def _headers(provider: Provider) -> list[tuple[bytes, bytes]]:
    key = provider.api_key.reveal().encode()
    own = [(name.lower().encode(), value.encode()) for name, value in provider.headers]
    headers = {b"content-type": b"application/json", b"user-agent": b"poindexter"}
    if provider.schema == "anthropic":
        headers |= {b"x-api-key": key, b"anthropic-version": ANTHROPIC_VERSION}
    else:
        headers |= {b"authorization": b"Bearer " + key}
    return list((headers | dict(own)).items())
