"""
What a client may still do, as response headers: OpenAI's `x-ratelimit-*` with `RateLimit` of the IETF draft, revision
11, or Anthropic's `anthropic-ratelimit-*`. Pure: the clock is an argument.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Limits", "anthropic_limit_lines", "limit_lines"]

REQUESTS = b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
TOKENS = b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %b\r\n"
REQUEST_POLICY, REQUEST_STATE = b'"rpm";q=%d;w=60', b'"rpm";r=%d;t=%d'
TOKEN_POLICY, TOKEN_STATE = b'"tpm";q=%d;qu="tokens";w=60', b'"tpm";r=%d;t=%d'
POLICY = b"ratelimit-policy: %b\r\nratelimit: %b\r\n"
ONLY_REQUESTS = REQUESTS + POLICY % (REQUEST_POLICY, REQUEST_STATE)
ONLY_TOKENS = TOKENS + POLICY % (TOKEN_POLICY, TOKEN_STATE)
BOTH = REQUESTS + TOKENS + POLICY % (REQUEST_POLICY + b", " + TOKEN_POLICY, REQUEST_STATE + b", " + TOKEN_STATE)

ANTHROPIC = (
    b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: %d\r\nanthropic-ratelimit-%b-reset: %b\r\n"
)


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Limits:
    """What the account has left after an admission. -1 = no limit."""

    reset_ms: int
    requests: int
    requests_left: int
    tokens: int
    tokens_left: int


def limit_lines(limits: Limits | None) -> bytes:
    """Header lines in OpenAI's words. None for a limit that is not set, and none when the limits could not be read."""
    if limits is None or (limits.requests < 0 and limits.tokens < 0):
        return b""
    reset = _duration(limits.reset_ms)
    seconds = -(-limits.reset_ms // 1000)
    requests, requests_left = limits.requests, limits.requests_left
    tokens, tokens_left = limits.tokens, limits.tokens_left
    if tokens < 0:
        return ONLY_REQUESTS % (requests, requests_left, reset, requests, requests_left, seconds)
    if requests < 0:
        return ONLY_TOKENS % (tokens, tokens_left, reset, tokens, tokens_left, seconds)
    told = requests, requests_left, reset, tokens, tokens_left, reset
    return BOTH % (*told, requests, tokens, requests_left, seconds, tokens_left, seconds)


def anthropic_limit_lines(limits: Limits | None, now: float) -> bytes:
    """The same in Anthropic's words; `now` in Unix seconds, because a reset is told as a time (RFC 3339)."""
    if limits is None:
        return b""
    reset_at = -(-(now * 1000 + limits.reset_ms) // 1000)
    reset = datetime.fromtimestamp(reset_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    told = [(b"requests", limits.requests, limits.requests_left), (b"tokens", limits.tokens, limits.tokens_left)]
    return b"".join(ANTHROPIC % (what, limit, what, left, what, reset) for what, limit, left in told if limit >= 0)


def _duration(milliseconds: int) -> bytes:
    """Go's form, as OpenAI sends it: `17ms`, `1.5s`."""
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    return (f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s").encode()
