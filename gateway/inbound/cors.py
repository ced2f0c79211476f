"""
What a browser asks before a page of another origin may talk to us (CORS). Off unless origins are named. Pure.

The answer tells the browser what the page may see; it protects no key. Credentials in the sense of CORS (cookies) play
no part: a key comes in a header that the page itself sets.
"""

from collections.abc import Iterable, Mapping

from gateway.inbound.headers import Headers

__all__ = ["Cors"]

ANY = "*"
METHODS = b"GET, HEAD, POST"
MAX_AGE_SECONDS = b"7200"
"""As long as browsers remember it at most."""
EXPOSED = b", ".join(
    (
        *(b"x-request-id", b"retry-after", b"retry-after-ms", b"x-should-retry"),
        *(b"x-poindexter-target", b"x-poindexter-attempts", b"x-poindexter-overhead-ms"),
        *(b"x-ratelimit-%b-requests" % what for what in (b"limit", b"remaining", b"reset")),
        *(b"x-ratelimit-%b-tokens" % what for what in (b"limit", b"remaining", b"reset")),
        *(b"ratelimit", b"ratelimit-policy"),
    )
)
"""What of an answer a page may read besides the few plain headers."""
ALLOW = b"access-control-allow-origin: %%b\r\naccess-control-expose-headers: %b\r\n" % EXPOSED
VARY = b"vary: Origin\r\n"


class Cors:
    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._any = ANY.encode() in self._allowed

    def lines(self, request: Mapping[bytes, bytes]) -> bytes:
        """Header lines for every answer, errors and streams included."""
        if self._any:
            return ALLOW % b"*"
        origin = request.get(b"origin")
        # `vary` also where the origin is another one: a cache must not hand its answer on.
        return VARY if origin not in self._allowed or origin is None else VARY + ALLOW % origin

    def preflight(self, request: Mapping[bytes, bytes]) -> Headers | None:
        """What an OPTIONS request is told besides `headers`; None if it is not a browser's question."""
        if b"origin" not in request or b"access-control-request-method" not in request:
            return None
        asked = request.get(b"access-control-request-headers", b"")
        return [
            (b"access-control-allow-methods", METHODS),
            # Any: what an SDK adds to its requests is its own business, and an unknown header does nothing here.
            *([(b"access-control-allow-headers", asked)] if asked else []),
            (b"access-control-max-age", MAX_AGE_SECONDS),
        ]
