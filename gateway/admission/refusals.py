"""What a refused admission says to the client. Pure: the reply of the script `admit` in, an error out."""

from collections.abc import Callable, Sequence

from core.usage.money import format_usd
from gateway.errors import (
    AccountSuspended,
    GatewayError,
    InvalidKey,
    ModelNotAllowed,
    RateLimited,
    SpendingCapReached,
    Unavailable,
)

__all__ = ["refusal"]

Refusal = Callable[[str, int, float, str], GatewayError]
"""(whose limit, the limit, seconds to wait, the model's name) -> error"""

REFUSALS: dict[bytes, Refusal] = {
    b"suspended": lambda scope, limit, wait, model: AccountSuspended(
        "This account is suspended. Ask the operator of this service to resume it."
    ),
    b"revoked": lambda scope, limit, wait, model: InvalidKey("This API key has been revoked."),
    b"expired": lambda scope, limit, wait, model: InvalidKey("This API key has expired."),
    b"model": lambda scope, limit, wait, model: ModelNotAllowed(
        f"This API key may not use the model {model!r}; GET /v1/models lists what it may use."
    ),
    b"requests": lambda scope, limit, wait, model: _limited(f"{scope}: {limit:,} requests per minute", limit, wait),
    b"tokens": lambda scope, limit, wait, model: _limited(f"{scope}: {limit:,} tokens per minute", limit, wait),
    b"oversized": lambda scope, limit, wait, model: _oversized(scope, limit),
    b"concurrency": lambda scope, limit, wait, model: _limited(f"{scope}: {limit:,} requests at once", limit, wait),
    b"cap": lambda scope, limit, wait, model: SpendingCapReached(
        f"The spending cap of this {scope}, {format_usd(limit)} per billing period, leaves no room for this request. "
        "Raise the cap, or lower `max_tokens` or the prompt."
    ),
    b"cold": lambda scope, limit, wait, model: Unavailable("The account can't be looked up.", retry_after=1.0),
}


def refusal(reply: Sequence[bytes | int], model: str) -> GatewayError:
    """`reply` is [reason, scope, limit, milliseconds to wait]."""
    reason, scope, limit, wait = reply
    return REFUSALS[bytes(reason)](bytes(scope).decode(), int(limit), int(wait) / 1000, model)


def _limited(words: str, limit: int, wait: float) -> RateLimited:
    error = RateLimited(f"Limit of this {words}.", retry_after=wait if limit else None)
    if not limit:
        error.should_retry = False  # A limit of 0 is a lock: the next minute brings nothing.
    return error


def _oversized(scope: str, limit: int) -> RateLimited:
    error = RateLimited(
        f"This request alone may use more than the {limit:,} tokens per minute of this {scope}: "
        "lower `max_tokens` or the prompt."
    )
    error.should_retry = False
    return error
