"""
One request's way through the upstreams of its model: who is next, and what the client is told when none has answered.

A refusal by a fallback is not the last word. The request was made for the upstream that comes first, and what only that
one understands is a mistake to another: when an upstream of another kind failed in a way that passes, or could not be
asked just now, the client is told so and may come again.
"""

from dataclasses import dataclass

from gateway.accounting.reservation import Reservation
from gateway.answering.client_error import client_error
from gateway.dialects.generation_request import GenerationRequest
from gateway.errors import GatewayError, InvalidRequest, NoTargetAvailable, UpstreamRateLimited
from gateway.failure import Fault, UpstreamFailure
from gateway.upstreams.upstream import Obstacle, Permit, Upstream

__all__ = ["Attempt", "TargetSearch"]

PASSING = frozenset((Fault.ACCOUNT, Fault.RATE, Fault.UPSTREAM, Fault.TIMEOUT))
"""Faults that another time the same request need not meet."""


@dataclass(slots=True)
class Attempt:
    """An upstream that can take the request now, with the place that is taken for it."""

    upstream: Upstream
    body: bytes
    permit: Permit


class TargetSearch:
    def __init__(self, chat: GenerationRequest, reservation: Reservation, upstreams: list[Upstream]) -> None:
        self._chat = chat
        self._reservation = reservation
        self._account = reservation.principal.account_id
        self._upstreams = upstreams
        self._waiting = list(upstreams)
        self._bodies: dict[Upstream, bytes] = {}
        self._inexpressible: dict[Upstream, InvalidRequest] = {}
        self._failed: dict[Upstream, UpstreamFailure] = {}
        """In order of the last failure of each."""

    def next(self) -> Attempt | None:
        """The next upstream that can be asked, and can be asked this. Whoever can't say it is never attempted."""
        while self._waiting:
            attempt = self.take(self._waiting.pop(0))
            if attempt is not None:
                return attempt
        return None

    def take(self, upstream: Upstream) -> Attempt | None:
        """Also for another attempt at the same upstream: its circuit may have opened meanwhile."""
        if not self._can_ask(upstream):
            return None
        return Attempt(upstream, self._bodies[upstream], upstream.take(self._account))

    def another_available(self) -> bool:
        return any(self._can_ask(upstream) for upstream in self._waiting)

    def note(self, upstream: Upstream, failure: UpstreamFailure) -> None:
        self._failed.pop(upstream, None)
        self._failed[upstream] = failure

    def error(self) -> GatewayError:
        """What the client is told when the search is over."""
        if not self._failed:
            return self._none_asked()
        upstream, failure = list(self._failed.items())[-1]
        if failure.fault is not Fault.REQUEST:
            return client_error(failure)
        return self._passing_reason(upstream) or client_error(failure)

    def _can_ask(self, upstream: Upstream) -> bool:
        return upstream.obstacle(self._account) is None and self._can_say(upstream)

    def _can_say(self, upstream: Upstream) -> bool:
        if upstream in self._bodies:
            return True
        if upstream in self._inexpressible:
            return False
        granted = self._reservation.granted_output
        translator = upstream.translators.get(self._chat.api)
        if translator is None:
            schema = upstream.target.provider.schema
            message = f"{self._reservation.model.name!r} can't be asked through this API: its provider speaks {schema}."
            self._inexpressible[upstream] = InvalidRequest(message, param="model")
            return False
        try:
            self._bodies[upstream] = translator.request(
                self._chat,
                upstream_model=upstream.target.model,
                max_output_tokens=granted,
                clamp=self._chat.max_output_tokens != granted,
            )
        except InvalidRequest as error:
            self._inexpressible[upstream] = error
            return False
        return True

    def _passing_reason(self, refusing: Upstream) -> GatewayError | None:
        """Why an upstream of another kind than the refusing one has not answered, if that may pass."""
        for upstream, failure in reversed(self._failed.items()):
            if failure.fault in PASSING and upstream.dialect != refusing.dialect:
                return client_error(failure)
        others = [upstream for upstream in self._upstreams if upstream.dialect != refusing.dialect]
        return self._held_up([upstream for upstream in others if upstream not in self._failed])

    def _none_asked(self) -> GatewayError:
        """An upstream that can't be asked now is worth coming back for, unless it could not be asked this at all."""
        held_up = self._held_up(self._upstreams)
        if held_up is not None:
            return held_up
        if self._inexpressible:
            return next(iter(self._inexpressible.values()))
        return self._unavailable(1.0)  # All of them have come back since they were passed over.

    def _held_up(self, upstreams: list[Upstream]) -> GatewayError | None:
        """The upstream that comes back first names the reason."""
        waits = [
            (upstream.wait(obstacle), obstacle)
            for upstream in upstreams
            if (obstacle := upstream.obstacle(self._account)) is not None and self._can_say(upstream)
        ]
        if not waits:
            return None
        seconds, obstacle = min(waits, key=lambda wait: wait[0])
        if obstacle is Obstacle.RATE:
            return UpstreamRateLimited(
                "The provider of this model is at its rate limit.", retry_after=max(0.1, seconds)
            )
        return self._unavailable(seconds)

    def _unavailable(self, seconds: float) -> NoTargetAvailable:
        return NoTargetAvailable(
            f"No provider of {self._reservation.model.name!r} is available right now.", retry_after=max(1.0, seconds)
        )
