"""
What the gateway refuses, and how it says so.

* GatewayError                 carries the message for the client; status, type and code belong to the class
  x InvalidRequest        400  invalid_request_error  the body is not what the endpoint takes; `param` names the field
  x ContextTooLong        400  context_length_exceeded
  x InvalidKey            401  invalid_api_key        missing, malformed, unknown, expired or revoked
  x SpendingCapReached    402  spend_cap_exceeded     the account's or the key's cap leaves nothing useful
  x ModelNotAllowed       403  model_not_allowed      the key may not use this model
  x AccountSuspended      403  account_suspended
  x RouteNotFound         404  not_found
  x MethodNotAllowed      405  method_not_allowed
  x ModelNotFound         404  model_not_found
  x BodyTimeout           408  request_timeout        the body did not arrive in time
  x BodyTooLarge          413  request_too_large
  x UnsupportedCoding     415  unsupported_content_encoding
  x RateLimited           429  rate_limit_exceeded    carries `retry_after`
  x UpstreamRateLimited   429  upstream_rate_limited  the target that comes back first is at its provider's limit
  x UpstreamRefused       4xx  the upstream's own     every upstream would refuse this request; its answer is passed on
  x UpstreamFailed        502  upstream_error         every target was tried
  x UpstreamOverloaded    503  upstream_overloaded    every target was tried, the last one is overloaded
  x NoTargetAvailable     503  no_provider_available  every target's circuit is open, or its provider's places are taken
  x Overloaded            503  overloaded             this process has too many open requests, or is draining
  x Unavailable           503  service_unavailable    limits or the ledger's stream can't be reached
  x UpstreamTimeout       504  upstream_timeout

Retry hints follow the official SDKs (they retry 408, 409, 429 and every 5xx unless `x-should-retry` says otherwise, and
give up at once on a Retry-After above 120 seconds): what only money can cure says `x-should-retry: false`.
"""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AccountSuspended",
    "BodyTimeout",
    "BodyTooLarge",
    "ClientGone",
    "ContextTooLong",
    "GatewayError",
    "InvalidKey",
    "InvalidRequest",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "ModelNotFound",
    "NoTargetAvailable",
    "Overloaded",
    "RateLimited",
    "RouteNotFound",
    "SpendingCapReached",
    "Unavailable",
    "UnsupportedCoding",
    "UpstreamFailed",
    "UpstreamOverloaded",
    "UpstreamRateLimited",
    "UpstreamRefused",
    "UpstreamTimeout",
]


class ClientGone(Exception):
    """The client has hung up: there is no one to answer."""

    status = 499
    """What logs and events say instead of an answer's status."""


class GatewayError(Exception):
    """`message` is shown to the client: it names the limit and the number, never a secret."""

    status: int = 500
    type: str = "api_error"
    code: str | None = "internal_error"
    should_retry: bool | None = None
    """None: the official SDKs decide by status. False: waiting does not help."""

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(GatewayError):
    status, type, code = 400, "invalid_request_error", None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param=param)
        self.code = code


class ContextTooLong(GatewayError):
    status, type, code = 400, "invalid_request_error", "context_length_exceeded"


class InvalidKey(GatewayError):
    status, type, code = 401, "authentication_error", "invalid_api_key"


class SpendingCapReached(GatewayError):
    status, type, code = 402, "insufficient_quota", "spend_cap_exceeded"
    should_retry = False


class ModelNotAllowed(GatewayError):
    status, type, code = 403, "permission_error", "model_not_allowed"


class AccountSuspended(GatewayError):
    status, type, code = 403, "permission_error", "account_suspended"


class RouteNotFound(GatewayError):
    status, type, code = 404, "invalid_request_error", "not_found"


class MethodNotAllowed(GatewayError):
    status, type, code = 405, "invalid_request_error", "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class ModelNotFound(GatewayError):
    status, type, code = 404, "invalid_request_error", "model_not_found"


class BodyTimeout(GatewayError):
    status, type, code = 408, "timeout_error", "request_timeout"


class BodyTooLarge(GatewayError):
    status, type, code = 413, "invalid_request_error", "request_too_large"


class UnsupportedCoding(GatewayError):
    status, type, code = 415, "invalid_request_error", "unsupported_content_encoding"


class RateLimited(GatewayError):
    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class UpstreamRefused(GatewayError):
    """Carries the upstream's own status, type and code: the request is at fault and no other target would take it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str,
        code: str | None,
        param: str | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.status, self.type, self.code = status, type, code
        self.others = others or {}
        """Members of the upstream's error object that OpenAI's has no name for."""


class UpstreamFailed(GatewayError):
    status, type, code = 502, "api_error", "upstream_error"


class UpstreamRateLimited(GatewayError):
    """Every target is at its provider's limit; the client may come back after `retry_after`."""

    status, type, code = 429, "rate_limit_error", "upstream_rate_limited"


class UpstreamOverloaded(GatewayError):
    """Every target was tried; the last one says that it is overloaded (503, Anthropic's 529)."""

    status, type, code = 503, "api_error", "upstream_overloaded"


class NoTargetAvailable(GatewayError):
    status, type, code = 503, "api_error", "no_provider_available"


class Overloaded(GatewayError):
    status, type, code = 503, "api_error", "overloaded"


class Unavailable(GatewayError):
    status, type, code = 503, "api_error", "service_unavailable"


class UpstreamTimeout(GatewayError):
    status, type, code = 504, "timeout_error", "upstream_timeout"
