"""A target as something that can be asked: its translator, its address, its credentials, its circuit."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from uuid import UUID

from core.models_file import Provider, Target
from gateway import metrics
from gateway.circuit_breaker import Circuit, CircuitBreaker, State
from gateway.translators.openai_anthropic import OpenAIToAnthropic
from gateway.translators.openai_openai import OpenAIToOpenAI
from gateway.translators.openai_request import Dialect
from gateway.translators.translator import Translator
from gateway.transport.client import Transport
from gateway.transport.exchange import Exchange as UpstreamExchange
from gateway.transport.head import header_line, request_head
from gateway.transport.origin import Origin, Timeouts
from gateway.upstream_failure import Fault, UpstreamFailure

__all__ = ["AttemptOutcome", "Upstream"]

log = logging.getLogger(__name__)

ANTHROPIC_VERSION = b"2023-06-01"
BETA_HEADERS = (b"anthropic-beta", b"openai-beta")
"""What a client may tell the provider beside the body."""


class AttemptOutcome(StrEnum):
    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    """The request was at fault."""
    ABANDONED = "abandoned"
    """The client hung up."""


class Upstream:
    """Belongs to one process; `circuit` and `open_requests` are its only state."""

    def __init__(self, target: Target, *, connect_seconds: float, breaker: CircuitBreaker) -> None:
        self.target = target
        self.translator: Translator = _translator(target)
        self.open_requests = 0
        self._breaker = breaker
        self._circuit = Circuit()
        self._origin, prefix = Origin.from_url(target.provider.base_url)
        self._head = request_head(
            "POST", prefix + self.translator.path, self._origin.authority, _headers(target.provider)
        )
        self._streaming = Timeouts(
            connect=connect_seconds,
            first_byte=target.first_byte_seconds,
            idle=target.idle_seconds,
            total=target.total_seconds,
        )
        # An answer that is not streamed sends its head when all of it is written: minutes, for a long one.
        self._whole = replace(self._streaming, first_byte=target.total_seconds)
        self._gauge = metrics.CIRCUITS_OPEN.labels(target.name)

    @property
    def available(self) -> bool:
        most = self.target.provider.max_concurrency
        return (not most or self.open_requests < most) and self._breaker.admits(self._circuit, time.monotonic())

    @property
    def available_in(self) -> float:
        """Seconds until the circuit lets a request through; 0 when only concurrency stands in the way."""
        return max(0.0, self._circuit.open_until - time.monotonic())

    def send(
        self, transport: Transport, body: bytes, event_id: UUID, client: Mapping[bytes, bytes], *, stream: bool
    ) -> UpstreamExchange:
        """Start a request. `x-client-request-id` names our event, so that both sides' records can be compared."""
        head = b"%bx-client-request-id: %b\r\n" % (self._head, str(event_id).encode())
        for name in BETA_HEADERS:
            if name in client and (betas := _betas(client[name], self.target.provider.betas)):
                head += header_line(name, betas)
        self._circuit = self._breaker.probed(self._circuit, time.monotonic())
        self.open_requests += 1
        return transport.send(self._origin, head, body, self._streaming if stream else self._whole)

    def answering(self) -> None:
        """A stream has begun; `ended` follows at its end."""
        self._circuit = self._breaker.answering(self._circuit)
        self._gauge.set(self._circuit.state is not State.CLOSED)

    def ended(self, outcome: AttemptOutcome, failure: UpstreamFailure | None = None) -> None:
        """An attempt is over; called once for each `send`."""
        self.open_requests -= 1
        metrics.counter(metrics.ATTEMPTS, self.target.provider.name, outcome.value).inc()
        now = time.monotonic()
        if failure is not None:
            self._note(failure)
            self._circuit = self._breaker.failed(self._circuit, failure, now)
        elif outcome is AttemptOutcome.ABANDONED:
            self._circuit = self._breaker.abandoned(self._circuit, now)
        else:
            self._circuit = self._breaker.succeeded(self._circuit)
        self._gauge.set(self._circuit.state is not State.CLOSED)

    def _note(self, failure: UpstreamFailure) -> None:
        """What the client is not told, because it concerns us and not the request."""
        if failure.fault is not Fault.REQUEST:
            log.warning(
                "upstream attempt failed",
                extra={
                    "target": self.target.name,
                    "fault": failure.fault.value,
                    "status": failure.status,
                    "error": failure.message[:300],
                },
            )


def _translator(target: Target) -> Translator:
    provider = target.provider
    if provider.schema == "anthropic":
        return OpenAIToAnthropic(input_includes_cache=provider.input_includes_cache)
    return OpenAIToOpenAI(
        Dialect(
            max_tokens_parameter=provider.max_tokens_parameter,
            stream_options=provider.stream_options,
            sends_done=provider.sends_done,
            foreign_fields=target.foreign_fields,
            fixed_sampling=target.fixed_sampling,
            input_includes_cache=provider.input_includes_cache,
        )
    )


def _betas(sent: bytes, allowed: frozenset[str]) -> bytes:
    """Those that the models file lists for this provider: some betas change what a token costs."""
    values = (value.strip() for value in sent.decode("latin-1").split(","))
    return ",".join(value for value in values if value in allowed).encode()


def _headers(provider: Provider) -> list[tuple[bytes, bytes]]:
    key = provider.api_key.reveal().encode()
    own = [(name.lower().encode(), value.encode()) for name, value in provider.headers]
    headers = {b"content-type": b"application/json", b"user-agent": b"poindexter"}
    if provider.schema == "anthropic":
        headers |= {b"x-api-key": key, b"anthropic-version": ANTHROPIC_VERSION}
    else:
        headers |= {b"authorization": b"Bearer " + key}
    return list((headers | dict(own)).items())
