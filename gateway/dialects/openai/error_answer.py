"""An error as the client sees it: OpenAI's error object and the headers that steer its retries. Pure."""

import orjson

from gateway.errors import GatewayError, InvalidKey, MethodNotAllowed, UpstreamRefused
from gateway.inbound.headers import Headers

__all__ = ["error_answer", "error_headers"]

MAX_RETRY_AFTER = 60.0
"""Above 120 seconds one official SDK gives up at once and the other sleeps for as long as it is told."""


def error_answer(error: GatewayError) -> tuple[int, Headers, bytes]:
    """Status, headers, body."""
    body = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    if isinstance(error, UpstreamRefused):
        body = {**error.others, **body}
    return error.status, error_headers(error), orjson.dumps({"error": body})


def error_headers(error: GatewayError) -> Headers:
    """The same for the SDKs of every API."""
    headers: Headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None and error.should_retry is not False:
        milliseconds = max(1, round(min(error.retry_after, MAX_RETRY_AFTER) * 1000))
        headers.append((b"retry-after-ms", b"%d" % milliseconds))
        headers.append((b"retry-after", b"%d" % -(-milliseconds // 1000)))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if isinstance(error, InvalidKey):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    return headers
