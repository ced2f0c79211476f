"""An error in Anthropic's words: the body of a refusal, and the `error` event of a stream. Pure."""

import orjson

from gateway.errors import GatewayError

__all__ = ["error_body", "error_event", "status_of"]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status. Everything else below 500 is the request's fault, and from 500 on ours."""
OVERLOADED = "upstream_overloaded"


def status_of(error: GatewayError) -> int:
    """Anthropic's own status for an overloaded provider: its SDK has a class for it."""
    return 529 if error.code == OVERLOADED else error.status


def error_body(error: GatewayError, request_id: str) -> bytes:
    """`details.error_code` is our code, where Anthropic's SDKs look for one."""
    status = status_of(error)
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return _encode(kind, error.message, error.code, request_id)


def error_event(message: str, status: int, code: str | None, request_id: str = "") -> bytes:
    """Ends a stream whose head has gone out: SDKs raise on it."""
    kind = TYPES.get(status, "api_error")
    return b"event: error\ndata: %b\n\n" % _encode(kind, message, code, request_id)


def _encode(kind: str, message: str, code: str | None, request_id: str) -> bytes:
    error: dict[str, object] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id or None})
