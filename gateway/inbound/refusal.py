"""The answer to bytes that are no request. Nothing but the connection has looked at them. Pure."""

import orjson

from gateway.inbound.response_head import STATUS_LINES

__all__ = ["CODES", "refusal_bytes"]

CODES = {400: "invalid_http", 408: "request_timeout", 431: "request_header_fields_too_large", 503: "overloaded"}


def refusal_bytes(status: int, message: str) -> bytes:
    """A whole answer in the form of OpenAI's errors; the connection closes behind it. Any page may read it: it says
    nothing about anybody."""
    kind = "api_error" if status >= 500 else "invalid_request_error"
    body = orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": CODES[status]}})
    retry = b"retry-after: 1\r\n" if status >= 500 else b""
    return (
        b"%bcontent-type: application/json\r\naccess-control-allow-origin: *\r\n%bconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (STATUS_LINES[status], retry, len(body), body)
    )
