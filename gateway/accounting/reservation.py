"""What an admitted request holds. It ends exactly once: with usage (`settle`) or without (`release`)."""

import asyncio
from collections.abc import Awaitable
from types import TracebackType

from core.models.models_file import Target
from core.redis.keys import ReservationKeys
from core.usage.token_usage import TokenUsage
from core.usage.usage_event import Outcome, UsageEvent
from gateway.accounting.charge import Charge, ChargeTerms
from gateway.accounting.event_draft import Ending, EventDraft
from gateway.accounting.limits import Limits
from gateway.accounting.settlement import Settlement
from gateway.dialects.translator import StreamTranslator
from gateway.errors import GatewayError
from gateway.inbound.exchange import ClientGone

__all__ = ["AlreadyEnded", "Reservation"]

HUNG_UP = (ClientGone, asyncio.CancelledError)
UNFINISHED = "unfinished"
INTERNAL_ERROR_STATUS = 500


class AlreadyEnded(Exception):
    """A second ending of one reservation: a bug of ours, stopped before it could bill twice."""


class Reservation:
    """Made by `admission`. `relay` settles it; whatever fails before is dealt with by `ended_on_error`."""

    def __init__(
        self,
        settlement: Settlement,
        draft: EventDraft,
        keys: ReservationKeys,
        *,
        cost: int,
        charge_terms: ChargeTerms,
        granted_output: int,
        limits: Limits | None,
        connection_number: int | None,
    ) -> None:
        self.event_id = draft.event_id
        self.keys = keys
        self.granted_output = granted_output
        """Output tokens per choice that the caps leave room for."""
        self.reserved_cost = cost
        self.charge_terms = charge_terms
        self.limits = limits
        """What the account has left; None when Redis could not say."""
        self.on_trust = connection_number is None
        """Redis could not say whether it may: what it owes goes to the disk first."""
        self.attempt = 0
        self.sent = False
        """The transport has handed the request of this attempt to a connection: the upstream may be at work on it."""
        self.target: Target | None = None
        self.progress: StreamTranslator | None = None
        """The streamed answer that is under way."""
        self.settled: UsageEvent | None = None
        self._settlement = settlement
        self._draft = draft
        self._connection_number = connection_number
        """Of the connection on which Redis admitted it."""
        self._put_down = False
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def _in_doubt(self) -> bool:
        """Nobody knows what Redis has of this, or will have when it comes back."""
        return self._put_down or self._connection_number != self._settlement.connection_number

    async def dispatch(self, target: Target) -> None:
        """A request is about to be sent. From now on what it owes survives this process: `admit` has left an estimate
        in Redis, and where that is in doubt, one is put on the disk.

        Raises SpoolFailed when the disk does not take it: then the request must not be sent.
        """
        self.attempt += 1
        self.target = target
        if self.attempt == 1 and self._in_doubt:
            await self._settlement.intend(self.estimate())

    def renew(self) -> None:
        """Prolong the lease; the estimate grows with what has been delivered."""
        if not self._ended:
            self._settlement.renew(self.keys, self.estimate(), self.put_down)

    def put_down(self) -> None:
        """Redis has gone, or has lost this: what the request owes goes to the disk, without waiting for it. If nothing
        has been sent yet, `dispatch` waits for it."""
        self._put_down = True
        if self.attempt and not self._ended:
            self._settlement.intend(self.estimate())

    def settle(self, ending: Ending) -> Awaitable[None]:
        """End with usage. The ending is on its way when this returns; await the result all the same.

        Raises AlreadyEnded. Never fails because of the balance or because Redis is away.
        """
        self._end()
        self.settled = self._draft.event(ending, self.target, self.attempt)
        return self._settlement.settle(self.keys, self.settled, self._draft.principal, self._offline_cost)

    def release(self, status: int) -> Awaitable[None]:
        """End without usage: nothing was sent, or the upstream failed and reported nothing. `status` is what the client
        is answered."""
        self._end()
        void = self._draft.void(status, self.target, self.attempt)
        return self._settlement.release(
            self.keys, void, self._draft.principal, self._offline_cost, in_doubt=self._in_doubt
        )

    def ended_on_error(self) -> "_EndedOnError":
        """`async with`: an error inside releases; a client that hangs up after the request was sent pays its input."""
        return _EndedOnError(self)

    def estimate(self) -> UsageEvent:
        """What is recorded if this process dies: the input and what has been delivered, as far as we know. The same
        count that `relay` would settle if the answer broke off here."""
        progress = self.progress
        if progress is None:
            usage = TokenUsage(input=self.charge_terms.likely_input)
        else:
            usage = Charge.of(progress.usage, UNFINISHED, progress.delivered_output, self.charge_terms).usage
        return self._draft.estimate(usage, self.target, self.attempt)

    @property
    def _offline_cost(self) -> int | None:
        return self.reserved_cost if self.on_trust else None

    def _end(self) -> None:
        if self._ended:
            raise AlreadyEnded(str(self.event_id))
        self._ended = True  # Before the await: no second ending while the first is on its way.


class _EndedOnError:
    __slots__ = ("_reservation",)

    def __init__(self, reservation: Reservation) -> None:
        self._reservation = reservation

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        reservation = self._reservation
        if error is None or reservation.ended:
            return
        if isinstance(error, HUNG_UP) and reservation.sent:
            usage = TokenUsage(input=reservation.charge_terms.likely_input)
            await reservation.settle(
                Ending(usage=usage, outcome=Outcome.CLIENT_GONE, estimated="client_gone", status=ClientGone.status)
            )
        else:
            await reservation.release(_status_of(error))


def _status_of(error: BaseException) -> int:
    if isinstance(error, GatewayError):
        return error.status
    return ClientGone.status if isinstance(error, HUNG_UP) else INTERNAL_ERROR_STATUS
