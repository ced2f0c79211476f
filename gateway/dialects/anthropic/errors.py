"""
Who is to blame for an error of Anthropic: status and type tell, except where money or our account is the cause.

A missing permission is our account's fault where the message speaks of the key, and something missing where it is the
model, which we name; else the request may have asked for it (a container, a file, a beta).
"""

from dataclasses import replace
from typing import Any

from gateway.dialects.error_object import ErrorObject, failure_of, identifier
from gateway.dialects.retry_after import retry_after
from gateway.dialects.translator import Header
from gateway.failure import Fault, UpstreamFailure

__all__ = ["in_band_failure", "response_failure"]

FAULT_BY_ERROR_CODE = {
    "enforced_spend_limit_reached": Fault.ACCOUNT,
    "contract_spend_limit_reached": Fault.ACCOUNT,
    "linked_organization_spend_limit_reached": Fault.ACCOUNT,
    "linked_organization_billing_unavailable": Fault.ACCOUNT,
    "organization_on_hold": Fault.ACCOUNT,
    "cmek_key_disabled": Fault.ACCOUNT,
    "cmek_key_network_blocked": Fault.ACCOUNT,
    "ramp_limit_exceeded": Fault.RATE,
}
STATUS_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
FAULT_BY_STATUS = {
    401: Fault.UNCLEAR,
    402: Fault.UNCLEAR,
    403: Fault.UNCLEAR,
    404: Fault.UNCLEAR,
    407: Fault.UPSTREAM,
    408: Fault.TIMEOUT,
    409: Fault.UPSTREAM,
    425: Fault.UPSTREAM,
    429: Fault.RATE,
    499: Fault.UPSTREAM,
    504: Fault.TIMEOUT,
    524: Fault.TIMEOUT,
}
NO_CREDIT = "your credit balance is too low"
"""Begins a plain 400 without a code. Only the beginning counts: the rest may repeat the request's words."""
OUR_KEY = "your api key"
OUR_MODEL = "model:"
NOTHING_NAMED = ("", "not found")
"""What is said of a path: our configuration, or a proxy on the way."""
TOO_LONG = "prompt is too long"


def response_failure(status: int, header: Header, body: bytes, now: float | None) -> UpstreamFailure:
    """For an answer whose status is not 200."""
    return _failure(status, ErrorObject.read(body), retry_after(header, now))


def in_band_failure(document: dict[str, Any]) -> UpstreamFailure:
    """For an error that came with status 200: as a body, or as an `error` event inside a stream."""
    error = ErrorObject.parse(document)
    return _failure(STATUS_BY_TYPE.get(error.type or "", 0), error, None)


def _failure(status: int, error: ErrorObject, wait: float | None) -> UpstreamFailure:
    code = identifier(error.metadata.get("error_code"))
    message = (error.message or "").lower()
    if code is None and status == 400 and TOO_LONG in message:
        code = "context_length_exceeded"  # What OpenAI's clients look for.
    error = replace(error, code=code)
    if code in FAULT_BY_ERROR_CODE:
        return failure_of(FAULT_BY_ERROR_CODE[code], status, error, wait)
    if status == 400 and message.startswith(NO_CREDIT):
        return failure_of(Fault.ACCOUNT, status, error, wait)
    fault = _fault_by_words(status, error.type, message)
    if fault is not None:
        return failure_of(fault, status, error, wait)
    default = Fault.REQUEST if 400 <= status < 500 else Fault.UPSTREAM
    return failure_of(FAULT_BY_STATUS.get(status, default), status, error, wait)


def _fault_by_words(status: int, type: str | None, message: str) -> Fault | None:
    if type == "invalid_request_error" and status in (403, 404):
        return Fault.REQUEST
    if type in ("authentication_error", "billing_error"):
        return Fault.ACCOUNT
    if type == "permission_error" and message.startswith(OUR_KEY):
        return Fault.ACCOUNT
    if type == "not_found_error" and status == 404 and message not in NOTHING_NAMED:
        return Fault.ACCOUNT if message.startswith(OUR_MODEL) else Fault.REQUEST
    return None
