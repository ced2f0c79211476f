"""
Who is to blame for an error of an OpenAI-compatible upstream. The status alone does not tell; the code does.

A 401, 403 or 404 is our account's fault only where its words say so: the same statuses come for a parameter that is not
allowed, for a file the client named, and from a firewall that did not like a prompt.
"""

from typing import Any

from gateway.dialects.error_object import ErrorObject, failure_of, identifier
from gateway.dialects.retry_after import retry_after
from gateway.dialects.translator import Header
from gateway.failure import Fault, UpstreamFailure

__all__ = ["in_band_failure", "response_failure"]

FAULT_BY_NAME = {
    # Neither waiting nor another request cures these: a person has to pay, or to change our account.
    "insufficient_quota": Fault.ACCOUNT,
    "credit_balance_exhausted": Fault.ACCOUNT,
    "organization_spend_limit_exceeded": Fault.ACCOUNT,
    "project_spend_limit_exceeded": Fault.ACCOUNT,
    "organization_usage_limit_exceeded": Fault.ACCOUNT,
    "billing_hard_limit_reached": Fault.ACCOUNT,
    "billing_not_active": Fault.ACCOUNT,
    "account_deactivated": Fault.ACCOUNT,
    "access_terminated": Fault.ACCOUNT,
    "invalid_api_key": Fault.ACCOUNT,
    "invalid_organization": Fault.ACCOUNT,
    "missing_scope": Fault.ACCOUNT,
    "unsupported_country_region_territory": Fault.ACCOUNT,
    "model_not_found": Fault.ACCOUNT,
    "DeploymentNotFound": Fault.ACCOUNT,
    "authentication_error": Fault.ACCOUNT,
    "rate_limit_exceeded": Fault.RATE,
    "rate_limit_error": Fault.RATE,
    "slow_down": Fault.RATE,
    "server_is_overloaded": Fault.UPSTREAM,
    "overloaded_error": Fault.UPSTREAM,
    "server_error": Fault.UPSTREAM,
    "context_length_exceeded": Fault.REQUEST,
    "content_filter": Fault.REQUEST,
    "content_policy_violation": Fault.REQUEST,
}
FAULT_BY_STATUS = {
    401: Fault.UNCLEAR,
    403: Fault.UNCLEAR,
    404: Fault.UNCLEAR,
    407: Fault.UPSTREAM,
    408: Fault.TIMEOUT,
    409: Fault.UPSTREAM,
    425: Fault.UPSTREAM,
    429: Fault.RATE,
    498: Fault.UPSTREAM,
    499: Fault.UPSTREAM,
    504: Fault.TIMEOUT,
    524: Fault.TIMEOUT,
}
FAULT_BY_TYPE = {
    "invalid_request_error": Fault.REQUEST,
    "permission_error": Fault.UNCLEAR,
    "timeout_error": Fault.TIMEOUT,
}
REFUSALS = (401, 403, 404)
UNAUTHORIZED = 401
CURABLE_LIMIT_SOURCES = {"openrouter_in_flight_budget"}
INCURABLE_LIMIT_SOURCES = {"openrouter_credits", "openrouter_key_limit"}


def response_failure(status: int, header: Header, body: bytes, now: float | None) -> UpstreamFailure:
    """For an answer whose status is not 200."""
    error = ErrorObject.read(body)
    wait = retry_after(header, now)
    return failure_of(_fault(status, error, wait), status, error, wait)


def in_band_failure(document: dict[str, Any]) -> UpstreamFailure:
    """For an error that came with status 200: as a body, or as an event inside a stream."""
    error = ErrorObject.parse(document)
    status = error.numeric_code
    return failure_of(_fault(status, error, None), status, error)


def _fault(status: int, error: ErrorObject, wait: float | None) -> Fault:
    if status == 402:
        return _payment_fault(error, wait)
    if status == 403 and error.metadata.get("reasons"):
        return Fault.REQUEST  # OpenRouter: the input was flagged by moderation.
    named = next((FAULT_BY_NAME[name] for name in (error.code, error.type) if name in FAULT_BY_NAME), None)
    if _names_the_request(status, error, named):
        return Fault.REQUEST
    if named is not None:
        return named
    if status in FAULT_BY_STATUS:
        return FAULT_BY_STATUS[status]
    if 400 <= status < 500:
        return Fault.REQUEST
    return FAULT_BY_TYPE.get(error.type or "", Fault.UPSTREAM) if status == 0 else Fault.UPSTREAM


def _names_the_request(status: int, error: ErrorObject, named: Fault | None) -> bool:
    """A refusal that points at a part of the request. `model` is ours: clients name another one."""
    if status not in REFUSALS or named not in (None, Fault.ACCOUNT):
        return False
    if error.param not in (None, "model"):
        return True
    return named is None and error.type == "invalid_request_error" and status != UNAUTHORIZED


def _payment_fault(error: ErrorObject, wait: float | None) -> Fault:
    """OpenRouter's 402 is curable only where its in-flight budget is full, or a wait is named. Without a name it may be
    about this one request, which asks for more output than our credit there can pay."""
    source = identifier(error.metadata.get("limit_source"))
    if source in INCURABLE_LIMIT_SOURCES:
        return Fault.ACCOUNT
    if wait is not None or source in CURABLE_LIMIT_SOURCES:
        return Fault.RATE
    named = Fault.ACCOUNT in (FAULT_BY_NAME.get(error.code or ""), FAULT_BY_NAME.get(error.type or ""))
    return Fault.ACCOUNT if named else Fault.UNCLEAR
