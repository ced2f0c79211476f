"""
What a client may still do, as response headers: OpenAI's `x-ratelimit-*` and `RateLimit` of the IETF draft, revision
11. Pure.
"""

from dataclasses import dataclass

from gateway.inbound.headers import Headers

__all__ = ["Limits", "limit_headers"]


@dataclass(slots=True)  # Not frozen: a request makes one, and freezing it would triple what that costs.
class Limits:
    """What the account has left after an admission. -1 = no limit."""

    reset_ms: int
    requests: int
    requests_left: int
    tokens: int
    tokens_left: int


def limit_headers(limits: Limits | None) -> Headers:
    """Nothing for a limit that is not set, and nothing at all when the limits could not be read."""
    if limits is None or (limits.requests < 0 and limits.tokens < 0):
        return []
    reset = _duration(limits.reset_ms)
    seconds = -(-limits.reset_ms // 1000)
    headers: Headers = []
    policies, states = [], []
    if limits.requests >= 0:
        headers += [
            (b"x-ratelimit-limit-requests", b"%d" % limits.requests),
            (b"x-ratelimit-remaining-requests", b"%d" % limits.requests_left),
            (b"x-ratelimit-reset-requests", reset),
        ]
        policies.append(b'"rpm";q=%d;w=60' % limits.requests)
        states.append(b'"rpm";r=%d;t=%d' % (limits.requests_left, seconds))
    if limits.tokens >= 0:
        headers += [
            (b"x-ratelimit-limit-tokens", b"%d" % limits.tokens),
            (b"x-ratelimit-remaining-tokens", b"%d" % limits.tokens_left),
            (b"x-ratelimit-reset-tokens", reset),
        ]
        policies.append(b'"tpm";q=%d;qu="tokens";w=60' % limits.tokens)
        states.append(b'"tpm";r=%d;t=%d' % (limits.tokens_left, seconds))
    return [*headers, (b"ratelimit-policy", b", ".join(policies)), (b"ratelimit", b", ".join(states))]


def _duration(milliseconds: int) -> bytes:
    """Go's form, as OpenAI sends it: `17ms`, `1.5s`."""
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    return (f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s").encode()
